// Digests of files, as the hub names them.
#include "hub/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>

#include "hub/hub_server.h"

namespace rlcpp::hub {
namespace {

using test::HubServer;

std::string digest_of(DigestKind kind, const std::string& text, std::size_t piece) {
  Digest digest(kind);
  for (std::size_t at = 0; at < text.size(); at += piece)
    digest.update(std::as_bytes(std::span(text)).subspan(at, std::min(piece, text.size() - at)));
  return digest.hex();
}

// FIPS 180-2, appendices A and B, and lengths around a block against one another.
TEST(Digest, KnownVectors) {
  EXPECT_EQ(digest_of(DigestKind::kSha1, "abc", 1), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(digest_of(DigestKind::kSha1, "", 1), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(digest_of(DigestKind::kSha1, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 7),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(digest_of(DigestKind::kSha1, std::string(1000000, 'a'), 4099),
            "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  EXPECT_EQ(digest_of(DigestKind::kSha256, "abc", 3),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of(DigestKind::kSha256, "", 1),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest_of(DigestKind::kSha256, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 5),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest_of(DigestKind::kSha256, std::string(1000000, 'a'), 64),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (std::size_t length = 50; length < 140; ++length) {
    const std::string text(length, 'x');
    EXPECT_EQ(digest_of(DigestKind::kSha256, text, 1), digest_of(DigestKind::kSha256, text, 200)) << length;
  }
  // git hash-object of a file with "hello\n".
  EXPECT_EQ(HubServer::etag("hello\n", false), "ce013625030ba8dba906f756967f9e9ca394464a");
}

}  // namespace
}  // namespace rlcpp::hub
