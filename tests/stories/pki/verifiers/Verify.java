import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** Verifies a chain: Verify chain|list|answer|default ROOT CHAIN. It exits with 1 and the reason where it refuses. */
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

    public static void main(String[] arguments) throws Exception {
        var root = certificates(arguments[1]).get(0);
        var path = CertificateFactory.getInstance("X.509").generateCertPath(certificates(arguments[2]));
        var validator = CertPathValidator.getInstance("PKIX");
        var parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        parameters.setRevocationEnabled(!arguments[0].equals("chain"));
        if (arguments[0].equals("list") || arguments[0].equals("answer")) {
            var checker = (PKIXRevocationChecker) validator.getRevocationChecker();
            var options = EnumSet.of(
                PKIXRevocationChecker.Option.ONLY_END_ENTITY, PKIXRevocationChecker.Option.NO_FALLBACK);
            if (arguments[0].equals("list")) {
                options.add(PKIXRevocationChecker.Option.PREFER_CRLS);
            }
            checker.setOptions(options);
            parameters.addCertPathChecker(checker);
        }
        try {
            validator.validate(path, parameters);
        } catch (CertPathValidatorException error) {
            System.out.println(error);
            System.exit(1);
        }
    }
}
