import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import javax.net.ssl.CertPathTrustManagerParameters;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/**
 * Verifies a chain as TLS clients in Java do: Verify chain|list|answer|default ROOT CHAIN.
 *
 * <p>It exits with 1 and the reasons where it refuses.
 */
public final class Verify {
    private static List<X509Certificate> certificates(String name) throws Exception {
        var found = new ArrayList<X509Certificate>();
        try (var stream = Files.newInputStream(Path.of(name))) {
            for (var certificate : CertificateFactory.getInstance("X.509").generateCertificates(stream)) {
                found.add((X509Certificate) certificate);
            }
        }
        return found;
    }

    private static PKIXRevocationChecker checkerOfLeaf(boolean byList) throws Exception {
        var checker = (PKIXRevocationChecker) CertPathBuilder.getInstance("PKIX").getRevocationChecker();
        var options = EnumSet.of(
            PKIXRevocationChecker.Option.ONLY_END_ENTITY, PKIXRevocationChecker.Option.NO_FALLBACK);
        if (byList) {
            options.add(PKIXRevocationChecker.Option.PREFER_CRLS);
        }
        checker.setOptions(options);
        return checker;
    }

    public static void main(String[] arguments) throws Exception {
        var question = arguments[0];
        var anchors = Set.of(new TrustAnchor(certificates(arguments[1]).get(0), null));
        var parameters = new PKIXBuilderParameters(anchors, new X509CertSelector());
        parameters.setRevocationEnabled(!question.equals("chain"));
        if (question.equals("list") || question.equals("answer")) {
            parameters.addCertPathChecker(checkerOfLeaf(question.equals("list")));
        }
        var factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(new CertPathTrustManagerParameters(parameters));
        var manager = (X509TrustManager) factory.getTrustManagers()[0];
        try {
            manager.checkServerTrusted(certificates(arguments[2]).toArray(X509Certificate[]::new), "ECDHE_ECDSA");
        } catch (CertificateException error) {
            for (Throwable reason = error; reason != null; reason = reason.getCause()) {
                System.out.println(reason);
            }
            System.exit(1);
        }
    }
}
