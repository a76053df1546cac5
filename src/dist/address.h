// Where the processes of a run meet: a port of process 0, or on one machine a file in which it says which
// port it has.
#pragma once

#include <optional>
#include <string>

namespace rlcpp::dist {

struct Address {
  std::string file;  // not empty: the path of a meeting file, else:
  std::string host;
  int port = 0;
};

// "HOST:PORT", "[IPv6]:PORT" or "file:PATH". Throws bad_input for anything else, without asking the network.
Address parse_address(const std::string& text);

// The folder of meeting files that launchers' processes agree on: /tmp/rlcpp-UID.
std::string own_meeting_folder();
// What is read from a meeting file is believed, so its folder must be this user's alone. That of
// own_meeting_folder() is made; another that is absent is bad_input, one that others may write
// environment_error. Nothing is asked of a port.
void require_meeting_folder(const Address& address);

// The file of process 0: there from the constructor to the destructor, both of which leave another's alone.
class MeetingFile {
 public:
  // `port` of this machine, and what only who can read the file knows. Throws bad_input if the process 0 of
  // another run waits there now; what one that was killed left is replaced.
  MeetingFile(std::string path, int port, const std::string& password);
  ~MeetingFile();
  MeetingFile(const MeetingFile&) = delete;
  MeetingFile& operator=(const MeetingFile&) = delete;

  struct Content {
    int port = 0;
    std::string password;
  };
  // nullopt: it is not there, or not of this user.
  static std::optional<Content> read(const std::string& path);

 private:
  bool ours() const;
  std::string path_;
  int fd_ = -1;  // holds a lock as long as we wait
};

}  // namespace rlcpp::dist
