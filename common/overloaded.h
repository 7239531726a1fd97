// One visitor of a std::variant made of a lambda for each alternative: std::visit(Overloaded{...}, variant).
#ifndef TRIBUTARY_COMMON_OVERLOADED_H_
#define TRIBUTARY_COMMON_OVERLOADED_H_

namespace tributary {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};
template <typename... Handlers>
Overloaded(Handlers...) -> Overloaded<Handlers...>;

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_OVERLOADED_H_
