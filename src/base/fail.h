// fail(code, "format", args...): the one way an Error is made.
#pragma once

#include <fmt/format.h>

#include "vernier/status.h"

namespace vernier {

template <class... Args>
Error fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return {code, fmt::format(format, std::forward<Args>(args)...), {}};
}

// The same error with the next step for the user; replaces an earlier hint.
inline Error with_hint(Error error, std::string hint) {
  error.hint = std::move(hint);
  return error;
}

}  // namespace vernier
