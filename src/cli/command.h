// What a subcommand registers (src/cli/UNITS): its options on a CLI11 app, and what it does.
#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace CLI {
class App;
}

namespace vernier {

// Exit codes of every subcommand.
inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

struct CommandDescriptor {
  std::string_view name;
  std::string_view summary;
  // Adds options to `app` and returns what runs when the command was chosen; its result is the exit code.
  std::function<int()> (*setup)(CLI::App& app);
};

std::span<const CommandDescriptor* const> commands();

}  // namespace vernier
