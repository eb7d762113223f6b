// The unit `gguf`.
#include "containers/gguf/reader.h"
#include "containers/gguf/writer.h"

namespace vernier::units {
extern const ContainerDescriptor container_gguf;
const ContainerDescriptor container_gguf{.name = "gguf",
                                         .summary =
                                             "one file for llama.cpp and its kin: block types, metadata, "
                                             "tokenizer",
                                         .accepts = vernier::container_gguf::accepts,
                                         .layout = vernier::container_gguf::layout,
                                         .encode = vernier::container_gguf::encode,
                                         .config = vernier::container_gguf::config,
                                         .recognizes = vernier::container_gguf::recognizes,
                                         .open = vernier::container_gguf::open,
                                         .prepare = vernier::container_gguf::prepare,
                                         .place = vernier::container_gguf::place,
                                         .rewrite = vernier::container_gguf::rewrite};
}  // namespace vernier::units
