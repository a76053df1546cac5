#include "base/durable_layers.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

namespace rlcpp::test {
namespace {

namespace fs = std::filesystem;
using Kind = DiskCall::Kind;

std::string directory_of(const std::string& path) {
  return fs::path(path).parent_path().string();
}

bool changes_names(Kind kind) {
  return kind == Kind::kCreate || kind == Kind::kRename || kind == Kind::kMakeDirectory ||
         kind == Kind::kRemove;
}

// Of the first `count` calls, those that no later sync among them made durable.
std::vector<std::size_t> unsynced(const std::vector<DiskCall>& calls, std::size_t count) {
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < count; ++i) {
    const DiskCall& call = calls[i];
    bool durable = call.kind == Kind::kSync || call.kind == Kind::kSyncDirectory;
    for (std::size_t j = i + 1; j < count && !durable; ++j) {
      const DiskCall& later = calls[j];
      if (call.kind == Kind::kWrite) durable = later.kind == Kind::kSync && later.file == call.file;
      if (changes_names(call.kind) && later.kind == Kind::kSyncDirectory) {
        durable = later.path == directory_of(call.kind == Kind::kRename ? call.to : call.path);
      }
    }
    if (!durable) open.push_back(i);
  }
  return open;
}

// An inode of the replayed disk; names point at inodes, so a file stays itself across renames of its
// directories.
struct Node {
  bool directory = false;
  std::vector<std::byte> data;
  std::map<std::string, std::shared_ptr<Node>> children;
};

struct Disk {
  std::shared_ptr<Node> root = std::make_shared<Node>(Node{true, {}, {}});
  std::string base;
  std::map<ino_t, std::shared_ptr<Node>> directories;

  // The directory that holds `path`, which is that of the inode, and its last name; no directory if it was
  // never made.
  std::pair<std::shared_ptr<Node>, std::string> locate(const std::string& path, ino_t parent) const {
    const std::string name = fs::path(path).filename();
    if (directory_of(path) == base) return {root, name};
    const auto found = directories.find(parent);
    return {found == directories.end() ? nullptr : found->second, name};
  }
};

void write_out(const Node& node, const std::string& path) {
  for (const auto& [name, child] : node.children) {
    const std::string to = path + "/" + name;
    if (child->directory) {
      fs::create_directory(to);
      write_out(*child, to);
    } else {
      std::ofstream file(to, std::ios::binary);
      file.write(reinterpret_cast<const char*>(child->data.data()),
                 static_cast<std::streamsize>(child->data.size()));
    }
  }
}

}  // namespace

std::size_t for_crash_states(const std::vector<DiskCall>& calls, std::size_t max_dropped,
                             const std::function<void(std::size_t, const std::vector<DiskCall>&)>& visit) {
  std::size_t states = 0;
  for (std::size_t count = 0; count <= calls.size(); ++count) {
    const std::vector<std::size_t> open = unsynced(calls, count);
    // One fate for each open call: kept, gone, or (a write) half there.
    std::vector<std::pair<std::size_t, bool>> fates;
    for (const std::size_t i : open) {
      fates.emplace_back(i, false);
      if (calls[i].kind == Kind::kWrite && calls[i].bytes.size() > 1) fates.emplace_back(i, true);
    }
    const auto emit = [&](const std::vector<std::pair<std::size_t, bool>>& chosen) {
      std::vector<DiskCall> state;
      for (std::size_t i = 0; i < count; ++i) {
        bool gone = false, half = false;
        for (const auto& [index, halved] : chosen) {
          if (index == i) (halved ? half : gone) = true;
        }
        if (gone) continue;
        state.push_back(calls[i]);
        if (half) state.back().bytes.resize(calls[i].bytes.size() / 2);
      }
      visit(count, state);
      ++states;
    };
    emit({});
    for (std::size_t a = 0; a < fates.size() && max_dropped >= 1; ++a) {
      emit({fates[a]});
      for (std::size_t b = a + 1; b < fates.size() && max_dropped >= 2; ++b) {
        if (fates[a].first != fates[b].first) emit({fates[a], fates[b]});
      }
    }
  }
  return states;
}

void for_random_crash_states(const std::vector<DiskCall>& calls, std::size_t states, std::mt19937_64& rng,
                             const std::function<void(std::size_t, const std::vector<DiskCall>&)>& visit) {
  for (std::size_t s = 0; s < states; ++s) {
    const std::size_t count = rng() % (calls.size() + 1);
    const std::vector<std::size_t> open = unsynced(calls, count);
    // Few, half or nearly all of them are missing.
    const std::uint64_t share = 1 + rng() % 8;
    std::vector<DiskCall> state;
    for (std::size_t i = 0; i < count; ++i) {
      const bool is_open = std::binary_search(open.begin(), open.end(), i);
      const bool write = calls[i].kind == Kind::kWrite;
      if (is_open && rng() % 9 < share && (!write || rng() % 2 == 0)) continue;
      state.push_back(calls[i]);
      // Any length of a write may have reached the disk.
      if (is_open && write && rng() % 9 < share)
        state.back().bytes.resize(rng() % (calls[i].bytes.size() + 1));
    }
    visit(count, state);
  }
}

void make_state(const std::vector<DiskCall>& calls, const std::string& root_then,
                const std::string& root_now) {
  Disk disk;
  disk.base = root_then;
  std::map<int, std::shared_ptr<Node>> open;
  for (const DiskCall& call : calls) {
    const auto [parent, name] = disk.locate(call.path, call.parent);
    switch (call.kind) {
      case Kind::kCreate:
        open[call.file] = std::make_shared<Node>();
        if (parent == nullptr) break;
        if (const auto known = parent->children.find(name); known != parent->children.end()) {
          open[call.file] = known->second;  // opened for appending
        } else {
          parent->children[name] = open[call.file];
        }
        break;
      case Kind::kWrite:
        // The file of a creation that never reached the disk has no name; its bytes are nowhere to be seen.
        if (const auto file = open.find(call.file); file != open.end()) {
          std::vector<std::byte>& data = file->second->data;
          const std::size_t at = call.offset < 0 ? data.size() : static_cast<std::size_t>(call.offset);
          data.resize(std::max(data.size(), at + call.bytes.size()));
          std::copy(call.bytes.begin(), call.bytes.end(), data.begin() + static_cast<std::ptrdiff_t>(at));
        }
        break;
      case Kind::kMakeDirectory:
        // Without its name it is still there for those that work in it.
        disk.directories[call.self] = std::make_shared<Node>(Node{true, {}, {}});
        if (parent != nullptr) parent->children.try_emplace(name, disk.directories[call.self]);
        break;
      case Kind::kRemove:
        if (parent != nullptr) parent->children.erase(name);
        break;
      case Kind::kRename: {
        const auto [target, new_name] = disk.locate(call.to, call.to_parent);
        if (parent == nullptr || target == nullptr || !parent->children.contains(name)) break;
        const std::shared_ptr<Node> moved = parent->children[name];
        parent->children.erase(name);
        target->children[new_name] = moved;
        break;
      }
      case Kind::kSync:
      case Kind::kSyncDirectory:
        break;
    }
  }
  write_out(*disk.root, root_now);
}

}  // namespace rlcpp::test
