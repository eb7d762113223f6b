#pragma once

namespace vernier {

const char* version();  // "0.1.0"

}  // namespace vernier
