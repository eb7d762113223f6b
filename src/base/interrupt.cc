#include "base/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "base/fail.h"

namespace vernier {
namespace {

volatile sig_atomic_t flag = 0;

void on_signal(int signal) {
  if (flag) ::_exit(128 + signal);
  flag = 1;
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return flag != 0; }
void request_interrupt() { flag = 1; }
void clear_interrupt() { flag = 0; }

Status check_interrupt() {
  if (flag) return fail(ErrorCode::interrupted, "stopped on request");
  return {};
}

}  // namespace vernier
