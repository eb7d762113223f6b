#include "support/support.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace vernier::testing {
namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "vernier-test-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TempDir::path(const std::string& name) const { return name.empty() ? path_ : path_ + "/" + name; }

std::string source_dir() { return VERNIER_SOURCE_DIR; }

std::string bundled_model() { return source_dir() + "/models/books-6m"; }

std::string shared_dir() {
  const char* given = ::getenv("VERNIER_SHARED");
  const std::string path = given ? given : source_dir() + "/../shared";
  return fs::is_directory(path) ? path : std::string();
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Run run_vernier(const std::vector<std::string>& arguments, double kill_after, const std::string& input) {
  TempDir dir;
  const std::string in = dir.path("in"), out = dir.path("out"), err = dir.path("err");
  std::ofstream(in, std::ios::binary) << input;
  std::fflush(stdout);  // or the child would print the buffer again
  const pid_t child = ::fork();
  if (child == 0) {
    if (!::freopen(in.c_str(), "rb", stdin) || !::freopen(out.c_str(), "wb", stdout) ||
        !::freopen(err.c_str(), "wb", stderr))
      ::_exit(127);
    std::vector<char*> argv{const_cast<char*>(VERNIER_BINARY)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    ::execv(VERNIER_BINARY, argv.data());
    ::_exit(127);
  }
  if (kill_after > 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kill_after));
    ::kill(child, SIGKILL);  // a child that has ended is not yet reaped: nobody else has its number
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
}

}  // namespace vernier::testing
