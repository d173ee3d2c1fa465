// Routes a prompt.
// Usage: ./build.sh OUT && OUT/route HOST:PORT "your prompt"
#include <chrono>
#include <iostream>
#include <string>

#include <grpcpp/grpcpp.h>

#include "tierwise/v1/routing_service.grpc.pb.h"

int main(int argc, char** argv) {
  const std::string address = argc > 1 ? argv[1] : "127.0.0.1:50051";
  const std::string prompt = argc > 2 ? argv[2] : "tl;dr of this thread";
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  auto stub = tierwise::v1::RoutingService::NewStub(channel);

  tierwise::v1::RoutePromptRequest request;
  request.mutable_input()->set_prompt(prompt);
  tierwise::v1::RoutePromptResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  const grpc::Status status = stub->RoutePrompt(&context, request, &response);
  if (!status.ok()) {
    // Why in detail: `status.error_details()` is a serialized google.rpc.Status.
    std::cerr << "code " << status.error_code() << ": " << status.error_message() << "\n";
    return 1;
  }
  const auto& decision = response.decision();
  std::cout << decision.tier_id() << "\n"
            << decision.model_id() << "\n"
            << decision.reason() << "\n";
}
