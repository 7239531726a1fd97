// The signals that ask a program to end: SIGTERM, and SIGINT, which is Ctrl-C.
#ifndef TRIBUTARY_COMMON_STOP_SIGNALS_H_
#define TRIBUTARY_COMMON_STOP_SIGNALS_H_

namespace tributary {

// Blocks them in this thread and in every thread that it starts from now on, so that nothing but TakeStopSignal takes them.
void BlockStopSignals();

// Waits for the next one and returns its number. They must be blocked.
int TakeStopSignal();

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_STOP_SIGNALS_H_
