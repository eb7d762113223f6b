#include "vernier/version.h"

namespace vernier {

const char* version() { return VERNIER_VERSION; }

}  // namespace vernier
