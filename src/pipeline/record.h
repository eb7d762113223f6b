// TensorRecord as a line of OUT.run/tensors.jsonl and back.
#pragma once

#include "base/json.h"
#include "pipeline/quantize.h"

namespace vernier {

Json to_json(const TensorRecord& record);
Result<TensorRecord> record_from_json(const Json& json, const std::string& where);

// Every record of the file, the last one of a name winning; a torn end is cut off the file.
Result<std::vector<TensorRecord>> read_records(const std::string& path);

}  // namespace vernier
