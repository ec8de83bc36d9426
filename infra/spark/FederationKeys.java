// Reads column classes of Federation in Spark: a key client that has the DEKs of the classes that were leased.
//
//   parquet.crypto.factory.class         org.apache.parquet.crypto.keytools.PropertiesDrivenCryptoFactory
//   parquet.encryption.kms.client.class  FederationKeys
//
// Keys come from the file that the Java property `federation.keys` names, one `name=base64` a line; it is read once. They are not
// taken from Hadoop's configuration, which Spark shows in its pages and sends to its workers in clear.

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.crypto.KeyAccessDeniedException;
import org.apache.parquet.crypto.keytools.KeyToolkit;
import org.apache.parquet.crypto.keytools.KmsClient;

public class FederationKeys implements KmsClient {
  private final Map<String, byte[]> keys = new HashMap<>();

  @Override
  public void initialize(Configuration conf, String instanceId, String instanceUrl, String accessToken) {
    String file = System.getProperty("federation.keys", "");
    try {
      for (String line : Files.readAllLines(Path.of(file), StandardCharsets.US_ASCII)) {
        int at = line.indexOf('=');
        keys.put(line.substring(0, at), Base64.getDecoder().decode(line.substring(at + 1)));
      }
    } catch (IOException | IndexOutOfBoundsException | IllegalArgumentException error) {
      throw new KeyAccessDeniedException("the property federation.keys names no file of keys");
    }
  }

  @Override
  public String wrapKey(byte[] key, String name) {
    return KeyToolkit.encryptKeyLocally(key, master(name), name.getBytes(StandardCharsets.UTF_8));
  }

  @Override
  public byte[] unwrapKey(String wrapped, String name) {
    return KeyToolkit.decryptKeyLocally(wrapped, master(name), name.getBytes(StandardCharsets.UTF_8));
  }

  private byte[] master(String name) {
    byte[] key = keys.get(name);
    if (key == null) {
      throw new KeyAccessDeniedException("there is no lease for " + name);
    }
    return key;
  }
}
