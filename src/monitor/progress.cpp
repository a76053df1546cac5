#include "monitor/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "monitor/console.h"

namespace rlcpp::monitor {
namespace {

constexpr double kRedrawSeconds = 0.25;  // on a terminal
constexpr double kLineSeconds = 10;      // elsewhere
constexpr double kEtaSeconds = 2;        // an estimate from less is noise

bool is_terminal(std::FILE* stream) {
  if (isatty(fileno(stream)) == 0) return false;
  const char* term = std::getenv("TERM");  // the terminal's description of itself
  return term != nullptr && std::string_view(term) != "dumb" && *term != '\0';
}

std::size_t columns_of(std::FILE* stream) {
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// The first `columns` code points: a line that wraps could not be redrawn.
std::string_view cut(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;
    if (seen++ == columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

Progress::Progress(std::string what, std::int64_t total, std::string unit, ProgressOptions options)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total), options_(std::move(options)) {
  if (options_.stream == nullptr) options_.stream = stderr;
  terminal_ = options_.terminal.value_or(is_terminal(options_.stream));
  begin_ = now();
  last_ = terminal_ ? begin_ - 2 * kRedrawSeconds : begin_;
}

Progress::~Progress() {
  if (!finished_) clear();
}

double Progress::now() const {
  if (options_.clock != nullptr) return options_.clock();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Progress::update(std::int64_t done, std::string_view note) {
  note_ = note;
  update(done);
}

void Progress::update(std::int64_t done) {
  done_ = done;
  if (options_.quiet || finished_) return;
  const double time = now();
  if (time - last_ < (terminal_ ? kRedrawSeconds : kLineSeconds)) return;
  last_ = time;
  if (terminal_) {
    draw();
  } else {
    print(text());
  }
}

void Progress::message(std::string_view text) {
  if (options_.quiet) return;
  const bool redraw = drawn_;
  clear();
  print(text);
  if (redraw) draw();
}

void Progress::finish(std::string_view note) {
  if (finished_) return;
  finished_ = true;
  if (options_.quiet) return;
  clear();
  std::string line = fmt::format("{}  {} {}{}  {}", what_, done_, unit_, rate(), duration(now() - begin_));
  if (!note.empty()) line += "  " + std::string(note);
  print(line);
}

std::string Progress::rate() const {
  const double seconds = now() - begin_;
  if (seconds < 1e-3 || done_ <= 0) return {};
  return fmt::format("  {} {}/s", compact(static_cast<double>(done_) / seconds), unit_);
}

std::string Progress::text() const {
  const double seconds = now() - begin_;
  std::string line;
  if (total_ > 0) {
    const double share = static_cast<double>(done_) / static_cast<double>(total_);
    std::string eta = "-";
    if (seconds >= kEtaSeconds && done_ > 0) eta = duration(seconds * (1 / share - 1));
    line =
        fmt::format("{}  {}/{} {}  {:.0f}%{}  eta {}", what_, done_, total_, unit_, 100 * share, rate(), eta);
  } else {
    line = fmt::format("{}  {} {}{}  {}", what_, done_, unit_, rate(), duration(seconds));
  }
  if (!note_.empty()) line += "  " + note_;
  return line;
}

void Progress::draw() {
  const std::string line = printable(text());
  const std::string_view shown = cut(line, columns_of(options_.stream) - 1);
  // \r goes to the start of the line, ESC [ K takes away what the line before left.
  std::fprintf(options_.stream, "\r%.*s\x1b[K", static_cast<int>(shown.size()), shown.data());
  std::fflush(options_.stream);
  drawn_ = true;
}

void Progress::clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", options_.stream);
  std::fflush(options_.stream);
  drawn_ = false;
}

void Progress::print(std::string_view text) {
  if (options_.line) {
    options_.line(text);
    return;
  }
  const std::string line = printable(text);
  std::fprintf(options_.stream, "%s\n", line.c_str());
  std::fflush(options_.stream);
}

}  // namespace rlcpp::monitor
