// What tests of every layer need: folders, reference data, a fast way to run the built program.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "vernier/status.h"

namespace vernier::testing {

// A folder of this test alone, empty at first, removed at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  std::string path(const std::string& name = {}) const;

 private:
  std::string path_;
};

std::string source_dir();     // the project's root
std::string bundled_model();  // models/books-6m
std::string shared_dir();     // ../shared (or $VERNIER_SHARED), "" when absent

struct Run {
  int exit_code = 0;
  std::string out, err;
};
// build/vernier with these arguments and `input` as its stdin; killed with SIGKILL (exit code 137) when `kill_after`
// seconds have passed.
Run run_vernier(const std::vector<std::string>& arguments, double kill_after = 0, const std::string& input = {});

std::string read_file(const std::string& path);

}  // namespace vernier::testing

// Skips the test, saying so, where reference data beside the project is absent.
#define VN_NEEDS_SHARED() \
  if (vernier::testing::shared_dir().empty()) GTEST_SKIP() << "../shared is not beside the project"

#define VN_ASSERT_OK(expression)                             \
  do {                                                       \
    auto&& vn_result = (expression);                         \
    ASSERT_TRUE(vn_result.ok()) << vn_result.error().text(); \
  } while (false)

#define VN_EXPECT_OK(expression)                             \
  do {                                                       \
    auto&& vn_result = (expression);                         \
    EXPECT_TRUE(vn_result.ok()) << vn_result.error().text(); \
  } while (false)
