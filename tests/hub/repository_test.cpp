// The hub's client against a hub on this machine that misbehaves.
#include "hub/repository.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/signals.h"
#include "hub/hub_server.h"
#include "support.h"

namespace rlcpp::hub {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::HubServer;

std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST(RepositoryName, IsTheHubsAlphabet) {
  const auto id = [](const std::string& name) {
    const auto found = parse_repository(name, RepositoryKind::kModel);
    return found ? found->text() + " " + found->folder() : std::string("no");
  };
  EXPECT_EQ(id("Qwen/Qwen3-0.6B"), "Qwen/Qwen3-0.6B models--Qwen--Qwen3-0.6B");
  EXPECT_EQ(id("a/b@v1.0"), "a/b@v1.0 models--a--b");
  EXPECT_EQ(id("a/b@refs/pr/3"), "a/b@refs/pr/3 models--a--b");
  EXPECT_EQ(parse_repository("a/b", RepositoryKind::kDataset)->folder(), "datasets--a--b");
  for (const char* name :
       {"", "a", "/a", "a/", "a/b/c", "./b", "../b", "a/..", "a/.b", "a/b--c", "a/b..c", "a/b ", "-a/b",
        "a/b@", "a/b@../x", "a/b@x y", "a/b.git", "https://a/b", "a\\b/c"}) {
    EXPECT_EQ(id(name), "no") << name;
  }
  for (const char* path : {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb"})
    EXPECT_FALSE(is_repository_path(path)) << path;
  EXPECT_TRUE(is_repository_path("a/b c/d.json"));
}

class Hub : public ::testing::Test {
 protected:
  Hub() {
    options_.cache = dir_ / "hub";
    options_.endpoint = server_.url();
    options_.retry.attempts = 3;
    options_.retry.first_pause = std::chrono::milliseconds(1);
    options_.retry.stall_limit = std::chrono::seconds(1);
    options_.note = [this](const std::string& text) { notes_.push_back(text); };
    for (int i = 0; i < 300000; ++i) weights_.push_back(static_cast<char>(i * 2654435761U >> 11));
    server_.file("org/tiny", "config.json", "{}");
    server_.file("org/tiny", "tokenizer.json", "{\"t\": 1}");
    server_.file("org/tiny", "README.md", "not wanted");
    server_.file("org/tiny", "pytorch_model.bin", "not wanted", true);
    server_.file("org/tiny", "model.safetensors", weights_, true);
  }

  std::string fetch(const std::string& name = "org/tiny") {
    return fetch_repository(*parse_repository(name, RepositoryKind::kModel), options_, model_files_of_hub());
  }
  void expect_whole(const std::string& directory) {
    EXPECT_EQ(directory, options_.cache + "/models--org--tiny/snapshots/" + HubServer::kCommit);
    EXPECT_EQ(slurp(directory + "/config.json"), "{}");
    EXPECT_EQ(slurp(directory + "/model.safetensors"), weights_);
  }
  void refused(ExitCode code, const std::vector<std::string>& parts, const std::string& name = "org/tiny") {
    try {
      fetch(name);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.render();
      for (const std::string& part : parts)
        EXPECT_NE(error.render().find(part), std::string::npos) << part << "\n" << error.render();
    }
    EXPECT_FALSE(fs::exists(options_.cache + "/models--org--tiny/refs/main"));
  }
  std::string partial() const { return blob() + ".incomplete"; }
  std::string blob() const {
    return options_.cache + "/models--org--tiny/blobs/" + HubServer::etag(weights_, true);
  }
  std::vector<std::string> ranges() const {
    std::vector<std::string> all;
    for (const auto& request : server_.requests()) {
      const auto found = request.headers.find("range");
      if (found != request.headers.end() && request.path.starts_with("/cdn/")) all.push_back(found->second);
    }
    return all;
  }

  const test::TemporaryDirectory dir_;
  HubServer server_;
  HubOptions options_;
  std::string weights_;
  std::vector<std::string> notes_;
};

TEST_F(Hub, DownloadsIntoTheSharedLayout) {
  std::uint64_t done = 0, total = 0;
  options_.progress = [&](const std::string& file, std::uint64_t at, std::uint64_t of) {
    if (file != "model.safetensors") return;
    EXPECT_GT(at, done);
    done = at;
    total = of;
  };
  expect_whole(fetch());
  EXPECT_EQ(done, weights_.size());
  EXPECT_EQ(total, weights_.size());
  const std::string root = options_.cache + "/models--org--tiny/";
  EXPECT_EQ(slurp(root + "refs/main"),
            HubServer::kCommit);  // without a line feed, as huggingface_hub reads it
  const std::string snapshot = root + "snapshots/" + HubServer::kCommit;
  EXPECT_EQ(fs::read_symlink(snapshot + "/model.safetensors"),
            "../../blobs/" + HubServer::etag(weights_, true));
  EXPECT_EQ(fs::read_symlink(snapshot + "/config.json"), "../../blobs/" + HubServer::etag("{}", false));
  EXPECT_FALSE(fs::exists(snapshot + "/README.md"));
  EXPECT_FALSE(fs::exists(snapshot + "/pytorch_model.bin"));
  for (const auto& entry : fs::directory_iterator(root + "blobs")) EXPECT_EQ(entry.path().extension(), "");
  // What is there is not asked for again.
  const std::size_t before = server_.requests().size();
  expect_whole(fetch());
  EXPECT_EQ(server_.requests().size(), before);
  options_.offline = true;
  expect_whole(fetch());
}

TEST_F(Hub, ReadsACacheThatOthersWrote) {
  const std::string root = options_.cache + "/models--org--tiny/", commit(40, 'e');
  fs::create_directories(root + "refs");
  fs::create_directories(root + "blobs");
  fs::create_directories(root + "snapshots/" + commit);
  std::ofstream(root + "refs/main") << commit;
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    std::ofstream(root + "blobs/" + std::string(name)) << name;
    fs::create_symlink("../../blobs/" + std::string(name), root + "snapshots/" + commit + "/" + name);
  }
  options_.offline = true;
  EXPECT_EQ(slurp(fetch() + "/model.safetensors"), "model.safetensors");
  EXPECT_TRUE(server_.requests().empty());
  // A link without its blob is not there.
  fs::remove(root + "blobs/model.safetensors");
  try {
    fetch();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(error.render().find("is not whole in the Hugging Face cache"), std::string::npos)
        << error.render();
  }
  options_.offline = false;
  expect_whole(fetch());
}

// Others fill the cache file by file, and what a snapshot lacks it does not say.
TEST_F(Hub, AModelWithoutItsTemplateIsAskedFor) {
  server_.file("org/tiny", "tokenizer_config.json", "{\"chat_template\": \"x\"}");
  const std::string root = options_.cache + "/models--org--tiny/";
  fs::create_directories(root + "refs");
  fs::create_directories(root + "snapshots/" + HubServer::kCommit);
  std::ofstream(root + "refs/main") << HubServer::kCommit;
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"})
    std::ofstream(root + "snapshots/" + HubServer::kCommit + "/" + name) << name;
  options_.offline = true;
  EXPECT_FALSE(fs::exists(fetch() + "/tokenizer_config.json"));  // there may be none
  options_.offline = false;
  EXPECT_EQ(slurp(fetch() + "/tokenizer_config.json"), "{\"chat_template\": \"x\"}");
}

class HubFiles : public Hub {
 protected:
  HubFiles() {
    for (const char* name : {"test.txt", "a.txt", "b.txt"}) server_.file("org/rows", name, name);
  }
  std::string fetch_files(const std::vector<std::string>& names, const std::string& name = "org/rows") {
    Selection selection;
    selection.choose = [&](const auto&, const auto&) { return names; };
    return fetch_repository(*parse_repository(name, RepositoryKind::kDataset), options_, selection);
  }
  std::string refusal(const std::vector<std::string>& names, const std::string& name = "org/rows") {
    try {
      fetch_files(names, name);
    } catch (const Error& error) {
      return error.render();
    }
    return "accepted";
  }
  void expect_refused(const std::vector<std::string>& names, const std::vector<std::string>& parts,
                      const std::string& name = "org/rows") {
    const std::string text = refusal(names, name);
    for (const std::string& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
};

TEST_F(HubFiles, WhatAnInterruptedDownloadLacksIsKnown) {
  for (const std::string& name : {std::string("org/rows"), std::string("org/rows@") + HubServer::kCommit}) {
    SCOPED_TRACE(name);
    fs::remove_all(options_.cache);
    server_.fault("b.txt", {{Fault::kStatus, 404}});
    fetch_files({"test.txt"}, name);
    expect_refused({"a.txt", "b.txt"}, {"the hub has no org/rows", "b.txt"}, name);
    options_.offline = true;
    expect_refused({"a.txt", "b.txt"}, {"is not whole in the Hugging Face cache", "1 of the files", "b.txt"},
                   name);
    fetch_files({"a.txt"}, name);
    options_.offline = false;
    server_.fault("b.txt", {{}});
    EXPECT_EQ(slurp(fetch_files({"a.txt", "b.txt"}, name) + "/b.txt"), "b.txt");
    const std::size_t asked = server_.requests().size();
    fetch_files({"a.txt", "b.txt"}, name);
    EXPECT_EQ(server_.requests().size(), asked);
  }
}

TEST_F(HubFiles, ASnapshotWithoutAListIsNotBelieved) {
  const std::string snapshot = fetch_files({"a.txt"});
  fs::remove_all(options_.cache + "/datasets--org--rows/rlcpp-files");  // as in a cache of another program
  options_.offline = true;
  expect_refused({"a.txt"}, {"org/rows is not known to be whole", "list of files", snapshot});
  options_.offline = false;
  const int asked = server_.count("/api/");
  EXPECT_EQ(fetch_files({"a.txt"}), snapshot);
  EXPECT_EQ(server_.count("/api/"), asked + 1);
  std::ofstream(options_.cache + "/datasets--org--rows/rlcpp-files/" + HubServer::kCommit + ".json")
      << "[\"a.txt\", \"../x\"]";
  EXPECT_EQ(fetch_files({"a.txt"}), snapshot);
  EXPECT_EQ(server_.count("/api/"), asked + 2);
}

TEST_F(HubFiles, ACardIsReadBeforeFilesAreChosen) {
  server_.file("org/rows", "README.md", "b.txt");
  Selection selection;
  selection.card_name = "README.md";
  selection.choose = [](const auto&, const std::string& card) { return std::vector<std::string>{card}; };
  const auto fetch_by_card = [&] {
    return fetch_repository(*parse_repository("org/rows", RepositoryKind::kDataset), options_, selection);
  };
  fetch_files({"b.txt"});  // and not the card
  EXPECT_EQ(slurp(fetch_by_card() + "/b.txt"), "b.txt");
  const std::size_t asked = server_.requests().size();
  EXPECT_EQ(slurp(fetch_by_card() + "/README.md"), "b.txt");
  EXPECT_EQ(server_.requests().size(), asked);
}

TEST_F(Hub, ACircleOfRedirectsIsCalledOne) {
  for (const char* place : {"/api/", "config.json", "/cdn/"}) {
    server_.fault(place, {{Fault::kCircle}});
    refused(ExitCode::kEnvironment, {"redirects in a circle for org/tiny", place, "HF_ENDPOINT"});
    EXPECT_TRUE(notes_.empty()) << place;
    server_.fault(place, {{}});
  }
  expect_whole(fetch());
}

TEST_F(Hub, ADroppedConnectionGoesOnWhereItEnded) {
  server_.fault("/cdn/", {{Fault::kDrop, 100000}, {Fault::kDrop, 50000}, {Fault::kDrop, 1}, {}});
  expect_whole(fetch());
  EXPECT_EQ(ranges(), (std::vector<std::string>{"bytes=100000-", "bytes=150000-", "bytes=150001-"}));
  EXPECT_EQ(notes_.size(), 3U);
}

TEST_F(Hub, ALaterProcessGoesOnToo) {
  server_.fault("/cdn/", {{Fault::kDrop, 70000}, {Fault::kStatus, 503}});
  refused(ExitCode::kEnvironment, {"org/tiny: model.safetensors does not get on", "503", "where it stopped"});
  EXPECT_EQ(fs::file_size(partial()), 70000U);
  server_.fault("/cdn/", {{}});
  expect_whole(fetch());
  EXPECT_EQ(ranges().back(), "bytes=70000-");
  EXPECT_EQ(server_.count("/resolve/" + std::string(HubServer::kCommit) + "/config.json"), 1);
}

// Each attempt gets on by a few bytes, so none of them is fruitless.
TEST_F(Hub, AServerThatCutsEveryAnswerIsGivenUp) {
  server_.fault("/cdn/", {{Fault::kDrop, 10}});
  refused(ExitCode::kEnvironment, {"org/tiny: model.safetensors does not get on",
                                   "10 attempts brought 100 bytes", "where it stopped"});
  EXPECT_EQ(server_.count("/cdn/"), 10);
  EXPECT_EQ(fs::file_size(partial()), 100U);
  server_.fault("/cdn/", {{}});
  expect_whole(fetch());
  EXPECT_EQ(ranges().back(), "bytes=100-");
}

TEST_F(Hub, AServerThatCutsAnswersAfterAFairAmountIsNot) {
  options_.retry.fair_bytes = 20000;
  server_.fault("/cdn/", {{Fault::kDrop, 11000}});
  expect_whole(fetch());
  EXPECT_EQ(server_.count("/cdn/"), 28);
}

// What came is thrown away each time: a round is no progress, however much it brings.
TEST_F(Hub, AServerThatTurnsBackForeverIsGivenUp) {
  options_.retry.fair_bytes = 20000;
  std::vector<Fault> rounds;
  for (int i = 0; i < 40; ++i) {
    rounds.push_back({Fault::kDrop, 70000});
    rounds.push_back({Fault::kWrongRange, 3});
  }
  server_.fault("/cdn/", rounds);
  refused(ExitCode::kEnvironment, {"org/tiny: model.safetensors does not get on"});
  EXPECT_LT(server_.count("/cdn/"), 10);
}

TEST_F(Hub, AServerWithoutRangesBeginsAnew) {
  server_.fault("/cdn/", {{Fault::kDrop, 70000}, {Fault::kNoRange}});
  expect_whole(fetch());
}

TEST_F(Hub, AWrongRangeIsNotTaken) {
  server_.fault("/cdn/", {{Fault::kDrop, 70000}, {Fault::kWrongRange, 3}, {}});
  expect_whole(fetch());
}

TEST_F(Hub, AStalledConnectionIsGivenUp) {
  server_.fault("/cdn/", {{Fault::kStall, 1000}, {}});
  expect_whole(fetch());
  EXPECT_EQ(ranges(), (std::vector<std::string>{"bytes=1000-"}));
}

// Nobody waits for the end of a download that was interrupted, and nothing of it is lost.
TEST_F(Hub, ASignalEndsAWait) {
  options_.retry.stall_limit = std::chrono::seconds(30);
  for (const char* place : {"/cdn/", "/api/"}) {
    server_.fault(place, {{Fault::kStall, place == std::string("/cdn/") ? 1000 : 0}, {}});
    std::thread hand([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      request_stop(SIGTERM);
    });
    const auto begin = std::chrono::steady_clock::now();
    refused(ExitCode::kTerminated, {"stopped while downloading org/tiny", "goes on where it stopped"});
    hand.join();
    clear_stop();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4)) << place;
  }
  expect_whole(fetch());
  EXPECT_EQ(ranges(), (std::vector<std::string>{"bytes=1000-"}));
}

TEST_F(Hub, WrongSizesAreNotTaken) {
  server_.fault("/cdn/", {{Fault::kShort, 10}, {Fault::kLong, 10}, {}});
  expect_whole(fetch());
}

TEST_F(Hub, WrongSizesForeverAreAnError) {
  server_.fault("/cdn/", {{Fault::kLong, 10}});
  refused(ExitCode::kEnvironment, {"model.safetensors", "300010", "300000"});
}

TEST_F(Hub, WrongBytesAreLoadedAgain) {
  server_.fault("/cdn/", {{Fault::kCorrupt, 200000}, {}});
  expect_whole(fetch());
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_NE(notes_[0].find("checksum"), std::string::npos);
}

TEST_F(Hub, WrongBytesForeverAreAnError) {
  server_.fault("config.json", {{Fault::kCorrupt, 1}});
  refused(ExitCode::kEnvironment,
          {"org/tiny: config.json is not what the hub has", HubServer::etag("{}", false)});
  EXPECT_FALSE(fs::exists(options_.cache + "/models--org--tiny/blobs/" + HubServer::etag("{}", false)));
}

TEST_F(Hub, APartOfAnotherFileIsFoundByItsChecksum) {
  fs::create_directories(options_.cache + "/models--org--tiny/blobs");
  std::ofstream(partial()) << std::string(5000, 'z');
  expect_whole(fetch());
  std::ofstream(partial()) << std::string(400000, 'z');  // longer than the file
  fs::remove(blob());
  expect_whole(fetch());
}

TEST_F(Hub, TheTokenIsForTheHubAlone) {
  server_.require_token("secret");
  refused(ExitCode::kBadInput, {"does not give out org/tiny", "401", "HF_TOKEN"});
  options_.token = "secret";
  expect_whole(fetch());
  ASSERT_EQ(server_.count("/cdn/"), 1);
  for (const auto& request : server_.requests()) {
    const bool elsewhere = request.path.starts_with("/cdn/");
    EXPECT_FALSE(elsewhere && request.headers.contains("authorization"));
  }
  options_.token = "wrong";
  try {
    fetch("org/other");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.render().find("wrong\n"), std::string::npos) << error.render();  // no token in messages
  }
}

TEST_F(Hub, AListWithoutIdsIsCompletedByHeaders) {
  server_.plain_lists();
  expect_whole(fetch());
  EXPECT_EQ(fs::read_symlink(options_.cache + "/models--org--tiny/snapshots/" + HubServer::kCommit +
                             "/config.json"),
            "../../blobs/" + HubServer::etag("{}", false));
}

TEST_F(Hub, ShardsComeWithTheirIndex) {
  server_.file("org/big", "config.json", "{}");
  server_.file("org/big", "tokenizer.json", "{}");
  server_.file("org/big", "model.safetensors.index.json", "{\"x\": 1}");
  for (const char* n : {"1", "2"})
    server_.file("org/big", "model-0000" + std::string(n) + "-of-00002.safetensors", n, true);
  const std::string path = fetch("org/big");
  EXPECT_EQ(slurp(path + "/model-00002-of-00002.safetensors"), "2");
  options_.offline = true;
  EXPECT_EQ(fetch("org/big"), path);
  fs::remove(path + "/model-00001-of-00002.safetensors");
  EXPECT_THROW(fetch("org/big"), Error);
}

TEST_F(Hub, RefusesWhatCannotBeHad) {
  refused(ExitCode::kBadInput, {"the hub has no org/absent", "404"}, "org/absent");
  server_.file("org/gguf", "config.json", "{}");
  server_.file("org/gguf", "m.Q4_0.gguf", "x");
  refused(ExitCode::kBadInput, {"no safetensors", "m.Q4_0.gguf", "rlcpp convert"}, "org/gguf");
  server_.file("org/none", "README.md", "x");
  refused(ExitCode::kBadInput, {"no config.json"}, "org/none");
  server_.fault("/api/", {{Fault::kGarbage}});
  refused(ExitCode::kEnvironment, {"cannot be asked for org/tiny"});
  server_.fault("/api/", {{Fault::kStatus, 500}});
  refused(ExitCode::kEnvironment, {"it answers 500"});
  server_.fault("/api/", {{Fault::kCorrupt, 0}});
  refused(ExitCode::kEnvironment, {"is not a hub's"});
  server_.fault("/api/", {{}});
  options_.endpoint = "http://127.0.0.1:1";
  refused(ExitCode::kEnvironment, {"http://127.0.0.1:1 cannot be asked"});
  options_.endpoint = "file:///etc";
  refused(ExitCode::kEnvironment, {"cannot be asked"});
  options_.offline = true;
  refused(ExitCode::kBadInput, {"is not there in the Hugging Face cache", "HF_HUB_OFFLINE"});
}

TEST_F(Hub, TwoProcessesLoadAFileOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      HubOptions mine = options_;
      mine.note = {};
      fetch_repository(*parse_repository("org/tiny", RepositoryKind::kModel), mine, model_files_of_hub());
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_whole(fetch());
  EXPECT_EQ(server_.count("/cdn/"), 1);
}

TEST_F(Hub, ALockThatNobodyUsesIsNotWaitedForForever) {
  const HubCache cache(options_.cache, *parse_repository("org/tiny", RepositoryKind::kModel));
  cache.prepare();
  const std::string path = options_.cache + "/.locks/models--org--tiny/abc.lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  std::string said;
  try {
    const HubCache::Lock lock(cache, "abc", std::chrono::milliseconds(100),
                              [&](const std::string& text) { said = text; });
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(error.render().find(path), std::string::npos);
  }
  EXPECT_NE(said.find("another process"), std::string::npos);
  close(fd);
  const HubCache::Lock lock(cache, "abc", std::chrono::milliseconds(100), {});
}

}  // namespace
}  // namespace rlcpp::hub
