#include "worker/enrolment_client.h"

#include <grpcpp/grpcpp.h>

#include <memory>

#include "common/channel.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(10);

void Prepare(grpc::ClientContext& context) {
  context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + kCallTimeout));
}

absl::Status Told(const grpc::Status& status, const std::string& address, const Route& route, const CertificatePair& own) {
  const absl::Status told(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  return Annotate(ExplainConnectionFailure(told, address, route, &own), address);
}

}  // namespace

absl::StatusOr<v1::EnrolResponse> CallEnrol(const std::string& address, const Route& route, const PinnedCoordinator& coordinator,
                                            const v1::EnrolRequest& request) {
  const auto stub = v1::EnrolmentService::NewStub(
      MakeChannel(address, MakeEnrolmentCredentials(coordinator.ca, coordinator.federation), route, grpc::ChannelArguments()));
  grpc::ClientContext context;
  Prepare(context);
  v1::EnrolResponse response;
  CertificatePair own;
  own.ca = coordinator.ca;
  TRIBUTARY_RETURN_IF_ERROR(Told(stub->Enrol(&context, request, &response), address, route, own));
  return response;
}

absl::StatusOr<v1::IssuedCertificate> CallRenew(const std::string& address, const Route& route, const CertificatePair& own,
                                                const std::string& csr) {
  const auto stub = v1::RenewalService::NewStub(MakeChannel(address, MakeChannelCredentials(own), route, grpc::ChannelArguments()));
  grpc::ClientContext context;
  Prepare(context);
  v1::RenewRequest request;
  request.set_csr(csr);
  v1::IssuedCertificate issued;
  TRIBUTARY_RETURN_IF_ERROR(Told(stub->Renew(&context, request, &issued), address, route, own));
  return issued;
}

}  // namespace tributary::worker
