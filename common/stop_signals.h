// The signals that people and supervisors send: SIGTERM and SIGINT (Ctrl-C) ask a program to end, SIGHUP asks a daemon to read its
// configuration again.
#ifndef TRIBUTARY_COMMON_STOP_SIGNALS_H_
#define TRIBUTARY_COMMON_STOP_SIGNALS_H_

namespace tributary {

// Blocks SIGTERM and SIGINT in this thread and in every thread that it starts from now on, so that nothing but TakeStopSignal takes them.
// Threads that are there already, such as those that a library starts when it is loaded, pass them on.
void BlockStopSignals();

// Waits for the next one and returns its number. They must be blocked.
int TakeStopSignal();

// The same with SIGHUP, for a daemon. The SIGHUP of a terminal that was closed under the program counts as SIGTERM: whoever started it
// there does not expect it to go on.
void BlockDaemonSignals();
int TakeDaemonSignal();

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_STOP_SIGNALS_H_
