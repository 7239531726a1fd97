#include "common/csr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>

#include <vector>

#include "common/certificate_files.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Identity kBerlin{"demo", Role::kSite, "berlin"};

// A request over `key` that asks for all that it can think of.
std::string GreedyCsr(EVP_PKEY* key, const std::vector<std::pair<int, const char*>>& extensions) {
  X509_REQ* const csr = X509_REQ_new();
  X509_REQ_set_pubkey(csr, key);
  STACK_OF(X509_EXTENSION)* const wanted = sk_X509_EXTENSION_new_null();
  for (const auto& [nid, value] : extensions) {
    sk_X509_EXTENSION_push(wanted, X509V3_EXT_conf_nid(nullptr, nullptr, nid, value));
  }
  X509_REQ_add_extensions(csr, wanted);
  sk_X509_EXTENSION_pop_free(wanted, X509_EXTENSION_free);
  X509_REQ_sign(csr, key, EVP_sha256());
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(bio.get(), csr);
  X509_REQ_free(csr);
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string CsrOver(EVP_PKEY* key) {
  return GreedyCsr(key, {});
}

class CsrTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24 * 365)).ok());
    ca_ = CertificateAuthority::Load(directory_.File("ca.crt"), directory_.File("ca.key")).value();
  }

  absl::StatusOr<std::string> Sign(const std::string& csr, const Identity& identity = kBerlin) {
    return ca_->Sign(csr, {.identity = identity, .hosts = {}});
  }
  std::string Refusal(const std::string& csr) {
    const absl::Status status = Sign(csr).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  }

  const TestFolder directory_;
  std::shared_ptr<const CertificateAuthority> ca_;
};

TEST_F(CsrTest, ASignedRequestMakesAPairWithTheKeyThatStayed) {
  ASSERT_TRUE(RequestCertificate(directory_.File("site"), kBerlin).ok());
  const TlsFiles files = {directory_.File("ca.crt"), directory_.File("site/site-berlin.crt"), directory_.File("site/site-berlin.key")};
  struct stat info;
  ASSERT_EQ(stat(files.key.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const absl::StatusOr<std::string> certificate = Sign(ReadFile(directory_.File("site/site-berlin.csr"), kMaxCsrBytes).value());
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  ASSERT_TRUE(WriteFileAtomically(files.certificate, *certificate).ok());
  EXPECT_EQ(LoadCertificatePair(files, kBerlin).status(), absl::OkStatus());
}

TEST_F(CsrTest, NothingThatARequestAsksForIsInTheCertificate) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const std::string csr = GreedyCsr(key.get(), {{NID_subject_alt_name, "URI:spiffe://demo/operator/ada,DNS:hub.example.org"},
                                                {NID_basic_constraints, "critical,CA:TRUE"},
                                                {NID_ext_key_usage, "serverAuth"}});
  const absl::StatusOr<std::string> certificate = Sign(csr);
  ASSERT_TRUE(certificate.ok()) << certificate.status();
  const std::vector<X509Ptr> chain = ParseCertificates(*certificate, "test").value();
  ASSERT_EQ(chain.size(), 1u);
  EXPECT_THAT(UriNames(*chain[0]), ElementsAre("spiffe://demo/site/berlin"));
  EXPECT_THAT(DescribeCertificate(*chain[0]), Not(HasSubstr("hub.example.org")));
  EXPECT_EQ(X509_check_ca(chain[0].get()), 0);
  EXPECT_EQ(X509_check_purpose(chain[0].get(), X509_PURPOSE_SSL_SERVER, 0), 0);
  EXPECT_EQ(X509_check_purpose(chain[0].get(), X509_PURPOSE_SSL_CLIENT, 0), 1);
}

TEST_F(CsrTest, ARequestOverSomebodyElsesKeyIsRefused) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const KeyPtr other(EVP_EC_gen("P-256"));
  X509_REQ* const csr = X509_REQ_new();
  X509_REQ_set_pubkey(csr, key.get());
  X509_REQ_sign(csr, other.get(), EVP_sha256());
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(bio.get(), csr);
  X509_REQ_free(csr);
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  EXPECT_THAT(Refusal(std::string(data, static_cast<size_t>(size))), HasSubstr("its signature is not of its own key"));
}

TEST_F(CsrTest, AnAlteredRequestIsRefused) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const BioPtr bio(BIO_new(BIO_s_mem()));
  const std::string pem = CsrOver(key.get());
  BIO_write(bio.get(), pem.data(), static_cast<int>(pem.size()));
  X509_REQ* const csr = PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr);
  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr), "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("eve"), -1, -1, 0);
  i2d_re_X509_REQ_tbs(csr, nullptr);
  PEM_write_bio_X509_REQ(bio.get(), csr);
  X509_REQ_free(csr);
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  EXPECT_THAT(Refusal(std::string(data, static_cast<size_t>(size))), HasSubstr("its signature is not of its own key"));
}

TEST_F(CsrTest, WeakAndOutlandishKeysAreRefused) {
  EXPECT_THAT(Refusal(CsrOver(KeyPtr(EVP_RSA_gen(1024)).get())), HasSubstr("its RSA key has 1024 bits; use 2048 to 8192"));
  EXPECT_THAT(Refusal(CsrOver(KeyPtr(EVP_EC_gen("secp224r1")).get())), HasSubstr("on the curve 'secp224r1'"));
  EXPECT_THAT(Refusal(CsrOver(KeyPtr(EVP_EC_gen("secp256k1")).get())), HasSubstr("on the curve 'secp256k1'"));
  EXPECT_TRUE(Sign(CsrOver(KeyPtr(EVP_RSA_gen(2048)).get())).ok());
  EXPECT_TRUE(Sign(CsrOver(KeyPtr(EVP_EC_gen("P-384")).get())).ok());
}

TEST_F(CsrTest, CertificatesOfOneKeyHaveOneKeyFingerprint) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const auto certificate = [this](EVP_PKEY* of) { return std::move(ParseCertificates(Sign(CsrOver(of)).value(), "test")->front()); };
  const X509Ptr first = certificate(key.get());
  const X509Ptr second = certificate(key.get());
  EXPECT_NE(FingerprintOf(*first), FingerprintOf(*second));
  EXPECT_EQ(KeyFingerprintOf(*first), KeyFingerprintOf(*second));
  EXPECT_NE(KeyFingerprintOf(*first), KeyFingerprintOf(*certificate(KeyPtr(EVP_EC_gen("P-256")).get())));
}

TEST_F(CsrTest, WhatIsNoRequestIsRefused) {
  EXPECT_THAT(Refusal(""), HasSubstr("no request for a certificate in PEM"));
  EXPECT_THAT(Refusal(ReadFile(directory_.File("ca.crt"), 10'000).value()), HasSubstr("no request for a certificate in PEM"));
  EXPECT_THAT(Refusal(std::string(kMaxCsrBytes + 1, 'A')), HasSubstr("at most 16384 are read"));
}

TEST_F(CsrTest, TheCasOwnKeyGetsNoCertificate) {
  const KeyPtr key = LoadPrivateKey(directory_.File("ca.key")).value();
  EXPECT_THAT(Refusal(CsrOver(key.get())), HasSubstr("the CA's own"));
}

TEST_F(CsrTest, ACaSignsForItsOwnFederationAlone) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  EXPECT_THAT(std::string(Sign(CsrOver(key.get()), {"other", Role::kSite, "berlin"}).status().message()),
              HasSubstr("not of the federation 'other'"));
}

TEST_F(CsrTest, ACertificateThatIsNoCasSignsNothing) {
  ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = kBerlin, .hosts = {}}).ok());
  const absl::Status status = CertificateAuthority::Load(directory_.File("site-berlin.crt"), directory_.File("site-berlin.key")).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is not the certificate of a CA"));
}

TEST_F(CsrTest, AnIntermediateCaAddsItselfToWhatItSigns) {
  // Signed by the root, with a CA's powers: what a hospital's CA would give out.
  const KeyPtr key(EVP_EC_gen("P-256"));
  const KeyPtr root_key = LoadPrivateKey(directory_.File("ca.key")).value();
  const std::vector<X509Ptr> root = LoadCertificates(directory_.File("ca.crt")).value();
  const X509Ptr intermediate(X509_dup(root[0].get()));
  X509_set_pubkey(intermediate.get(), key.get());
  X509_set_issuer_name(intermediate.get(), X509_get_subject_name(root[0].get()));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(intermediate.get()), "OU", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("issuing"), -1, -1, 0);
  X509_sign(intermediate.get(), root_key.get(), EVP_sha256());
  const BioPtr bio(BIO_new_file(directory_.File("issuing.crt").c_str(), "w"));
  PEM_write_bio_X509(bio.get(), intermediate.get());
  BIO_flush(bio.get());
  const BioPtr key_bio(BIO_new_file(directory_.File("issuing.key").c_str(), "w"));
  PEM_write_bio_PrivateKey(key_bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  BIO_flush(key_bio.get());
  ca_ = CertificateAuthority::Load(directory_.File("issuing.crt"), directory_.File("issuing.key")).value();
  const KeyPtr leaf(EVP_EC_gen("P-256"));
  EXPECT_EQ(ParseCertificates(Sign(CsrOver(leaf.get())).value(), "test")->size(), 2u);
}

}  // namespace
}  // namespace tributary
