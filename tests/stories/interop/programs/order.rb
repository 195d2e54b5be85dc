# Issue, renew or revoke with Ruby's acme-client: ruby order.rb issue|renew|revoke, in the folder with the files.
# Environment: DIRECTORY, NAMES (comma-separated), CHALLENGE, KEY (ec or rsa), ANSWERS (challtestsrv's management URL).
require 'acme-client'
require 'json'
require 'net/http'

def tell(what, members)
  response = Net::HTTP.post(URI("#{ENV.fetch('ANSWERS')}/#{what}"), members.to_json)
  raise "#{what}: #{response.code}" unless response.is_a?(Net::HTTPSuccess)
end

def answer(authorization)
  name = authorization.identifier['value']
  if ENV['CHALLENGE'] == 'http-01'
    challenge = authorization.http01
    tell('add-http01', token: challenge.token, content: challenge.file_content)
  else
    challenge = authorization.dns01
    tell('set-txt', host: "#{challenge.record_name}.#{name}.", value: challenge.record_content)
  end
  challenge.request_validation
  wait_for(challenge, 'valid')
end

def wait_for(resource, status)
  200.times do
    resource.reload
    return if resource.status == status
    raise "#{resource.status}: #{resource.to_h}" if resource.status == 'invalid'
    sleep 0.1
  end
  raise "still #{resource.status}"
end

# This release leaves out a coordinate's octets of zero at the beginning, against RFC 7518 section 6.2.1.2: such keys are
# refused, here as elsewhere.
def account_key
  loop do
    key = OpenSSL::PKey::EC.generate('prime256v1')
    jwk = Acme::Client::JWK.from_private_key(key).to_h
    return key if [jwk[:x], jwk[:y]].all? { |coordinate| coordinate.length == 43 }
  end
end

File.write('account.key', account_key.to_pem) unless File.exist?('account.key')
client = Acme::Client.new(
  private_key: OpenSSL::PKey.read(File.read('account.key')), directory: ENV.fetch('DIRECTORY'), bad_nonce_retry: 5
)
if ARGV[0] == 'revoke'
  client.account
  client.revoke(certificate: OpenSSL::X509::Certificate.new(File.read('cert.pem')))
  exit
end
client.new_account(contact: 'mailto:a@example.com', terms_of_service_agreed: true)
names = ENV.fetch('NAMES').split(',')
order = client.new_order(identifiers: names)
order.authorizations.each { |authorization| answer(authorization) unless authorization.status == 'valid' }
key = ENV['KEY'] == 'ec' ? OpenSSL::PKey::EC.generate('prime256v1') : OpenSSL::PKey::RSA.new(2048)
order.reload
order.finalize(csr: Acme::Client::CertificateRequest.new(names: names, private_key: key))
wait_for(order, 'valid')
File.write('cert.pem', order.certificate)
File.write('key.pem', key.to_pem)
