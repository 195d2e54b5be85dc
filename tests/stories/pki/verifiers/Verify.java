import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Provider;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
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
 * Verifies a chain as TLS clients in Java do, or as Bouncy Castle does:
 * Verify chain|list|answer|default|bouncy-castle ROOT CHAIN.
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

    private static void byTLS(String question, Set<TrustAnchor> anchors, List<X509Certificate> chain) throws Exception {
        var parameters = new PKIXBuilderParameters(anchors, new X509CertSelector());
        parameters.setRevocationEnabled(!question.equals("chain"));
        if (question.equals("list") || question.equals("answer")) {
            parameters.addCertPathChecker(checkerOfLeaf(question.equals("list")));
        }
        var factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(new CertPathTrustManagerParameters(parameters));
        var manager = (X509TrustManager) factory.getTrustManagers()[0];
        manager.checkServerTrusted(chain.toArray(new X509Certificate[0]), "ECDHE_ECDSA");
    }

    private static void byBouncyCastle(Set<TrustAnchor> anchors, List<X509Certificate> chain) throws Exception {
        var provider = (Provider) Class.forName("org.bouncycastle.jce.provider.BouncyCastleProvider")
            .getDeclaredConstructor().newInstance();
        var leaf = new X509CertSelector();
        leaf.setCertificate(chain.get(0));
        var parameters = new PKIXBuilderParameters(anchors, leaf);
        parameters.setRevocationEnabled(false);
        parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(chain)));
        CertPathBuilder.getInstance("PKIX", provider).build(parameters);
    }

    public static void main(String[] arguments) throws Exception {
        var anchors = Set.of(new TrustAnchor(certificates(arguments[1]).get(0), null));
        var chain = certificates(arguments[2]);
        try {
            if (arguments[0].equals("bouncy-castle")) {
                byBouncyCastle(anchors, chain);
            } else {
                byTLS(arguments[0], anchors, chain);
            }
        } catch (GeneralSecurityException error) {
            for (Throwable reason = error; reason != null; reason = reason.getCause()) {
                System.out.println(reason);
            }
            System.exit(1);
        }
    }
}
