#include "arch/source.h"

#include "base/fail.h"

namespace vernier {

Result<GridPart> ModelSource::part(const std::string& name) const {
  return fail(ErrorCode::unsupported, "{}: the codes of {} cannot be read back", path_, name);
}

}  // namespace vernier
