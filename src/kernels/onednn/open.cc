#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "kernels/onednn/api.h"

// clang's way to say it.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

namespace vernier::kernels {

const OnednnApi& onednn() {
  static const OnednnApi* const api = [] {
    Dl_info self{};
    ::dladdr(reinterpret_cast<const void*>(&onednn), &self);
    const auto folder = std::filesystem::path(self.dli_fname ? self.dli_fname : "").parent_path();
#if defined(__SANITIZE_ADDRESS__)
    constexpr int mode = RTLD_NOW | RTLD_LOCAL;  // the sanitizer's runtime refuses RTLD_DEEPBIND
#else
    constexpr int mode = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif
    void* library = ::dlopen((folder / "libvernier_onednn.so").c_str(), mode);
    using Entry = const OnednnApi* (*)();
    const auto entry = library ? reinterpret_cast<Entry>(::dlsym(library, "vernier_onednn_api")) : nullptr;
    if (!entry) {
      std::fprintf(stderr, "vernier: cannot open libvernier_onednn.so beside this program's libraries: %s\n",
                   ::dlerror());
      std::abort();
    }
    return entry();
  }();
  return *api;
}

}  // namespace vernier::kernels
