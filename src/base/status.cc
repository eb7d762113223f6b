#include "vernier/status.h"

namespace vernier {

std::string_view name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return "invalid";
    case ErrorCode::not_found:
      return "not found";
    case ErrorCode::exists:
      return "exists";
    case ErrorCode::io:
      return "io";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::over_budget:
      return "over budget";
    case ErrorCode::mismatch:
      return "mismatch";
    case ErrorCode::interrupted:
      return "interrupted";
    case ErrorCode::failed:
      return "failed";
  }
  return "unknown";
}

std::string Error::text() const { return hint.empty() ? message : message + " (" + hint + ")"; }

}  // namespace vernier
