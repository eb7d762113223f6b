#include "pipeline/learn_plugin.h"

#include <dlfcn.h>

#include <filesystem>

#include "base/fail.h"
#include "vernier/version.h"

namespace vernier {

Result<const LearnPlugin*> open_learn_plugin() {
  static const Result<const LearnPlugin*> opened = []() -> Result<const LearnPlugin*> {
    Dl_info self{};
    ::dladdr(reinterpret_cast<const void*>(&open_learn_plugin), &self);
    const std::string path =
        (std::filesystem::path(self.dli_fname ? self.dli_fname : "").parent_path() / "libvernier_learn.so").string();
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* reason = ::dlerror();
      return with_hint(fail(ErrorCode::not_found, "cannot open {}: {}", path, reason ? reason : "unknown reason"),
                       "build with the release preset; the core preset leaves libtorch out");
    }
    using Entry = const LearnPlugin* (*)();
    const auto entry = reinterpret_cast<Entry>(::dlsym(library, "vernier_learn_plugin"));
    const LearnPlugin* plugin = entry ? entry() : nullptr;
    if (!plugin || std::string(plugin->version) != version()) {
      return with_hint(fail(ErrorCode::mismatch, "{}: wanted version {}, found {}", path, version(),
                            plugin ? plugin->version : "another library"),
                       "build and install both libraries together");
    }
    return plugin;
  }();
  if (!opened.ok()) return opened.error();
  return *opened;
}

Result<std::unique_ptr<Executor>> make_device_executor(const std::string& device) {
  if (device == "cpu") return make_core_executor();
  VN_ASSIGN(const LearnPlugin* plugin, open_learn_plugin());
  std::string problem;
  auto executor = plugin->make_executor(device, problem);
  if (!executor) {
    return with_hint(fail(ErrorCode::unsupported, "device {}: {}", device, problem), "use --device cpu");
  }
  return executor;
}

}  // namespace vernier
