// Ctrl-C as a flag that long loops poll, so that they stop at a resumable point.
#pragma once

#include "vernier/status.h"

namespace vernier {

void install_interrupt_handler();  // SIGINT and SIGTERM set the flag; a second one ends the process
bool interrupted();
void request_interrupt();  // what the handler does; for tests
void clear_interrupt();
Status check_interrupt();  // ErrorCode::interrupted when the flag is set

}  // namespace vernier
