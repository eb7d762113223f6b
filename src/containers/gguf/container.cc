// The unit `gguf`.
#include "containers/gguf/reader.h"

namespace vernier::units {
extern const ContainerDescriptor container_gguf;
const ContainerDescriptor container_gguf{.name = "gguf",
                                         .summary = "one file for llama.cpp and its kin: block types, tokenizer, "
                                                    "metadata (read)",
                                         .recognizes = vernier::container_gguf::recognizes,
                                         .open = vernier::container_gguf::open};
}  // namespace vernier::units
