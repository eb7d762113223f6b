// Errors as values: everything a user, a file or a socket can cause comes back as Status or Result<T>.
#pragma once

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vernier {

enum class ErrorCode {
  invalid,      // malformed input: a file, a recipe, an argument
  not_found,    // a file, tensor, key or name that should exist does not
  exists,       // an output that is already there
  io,           // the operating system refused: permissions, full disk, short read
  unsupported,  // well-formed, but nothing here handles it
  over_budget,  // would need more memory than the user allowed
  mismatch,     // two things that must agree do not (shape against config, journal against recipe)
  interrupted,  // the user stopped the run; the state on disk is resumable
  failed,       // the job ran and went wrong (divergence, no positive-definite repair)
};

std::string_view name(ErrorCode code);

// One failure. `message` names the file and tensor, what was wanted and what was found; `hint` is the next step.
struct Error {
  ErrorCode code = ErrorCode::failed;
  std::string message;
  std::string hint;

  // "message (hint)" on one line.
  std::string text() const;
};

// Success, or one Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::make_unique<Error>(std::move(error))) {}

  bool ok() const { return error_ == nullptr; }
  const Error& error() const {
    assert(error_);
    return *error_;
  }
  Error take_error() && { return std::move(*error_); }

 private:
  std::unique_ptr<Error> error_;
};

// A value, or one Error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : status_(std::move(error)) {}
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }

  template <class U>
  requires(std::is_convertible_v<U, T> && !std::is_same_v<std::remove_cvref_t<U>, T>) Result(Result<U> other) {
    if (other.ok())
      value_.emplace(std::move(other).value());
    else
      status_ = std::move(other).take_error();
  }

  bool ok() const { return value_.has_value(); }
  const Error& error() const { return status_.error(); }
  Error take_error() && { return std::move(status_).take_error(); }

  T& value() & {
    assert(ok());
    return *value_;
  }
  const T& value() const& {
    assert(ok());
    return *value_;
  }
  T value() && {
    assert(ok());
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace vernier

#define VN_CONCAT_(a, b) a##b
#define VN_CONCAT(a, b) VN_CONCAT_(a, b)

// Returns the error of a Status or Result from the enclosing function.
#define VN_TRY(expression)                                           \
  do {                                                               \
    if (auto vn_status = (expression); !vn_status.ok()) [[unlikely]] \
      return std::move(vn_status).take_error();                      \
  } while (false)

// VN_ASSIGN(auto x, make()): binds the value of a Result, or returns its error.
#define VN_ASSIGN(declaration, expression) VN_ASSIGN_(declaration, expression, VN_CONCAT(vn_result_, __LINE__))
#define VN_ASSIGN_(declaration, expression, result) \
  auto result = (expression);                       \
  if (!result.ok()) [[unlikely]]                    \
    return std::move(result).take_error();          \
  declaration = std::move(result).value()
