# Routes a prompt.
# Usage: ./build.sh OUT && OUT/route HOST:PORT "your prompt"
require "google/protobuf/well_known_types" # unpacks details
require "google/rpc/error_details_pb"
require "tierwise/v1/routing_service_services_pb"

address, prompt = ARGV
address ||= "127.0.0.1:50051"
prompt ||= "tl;dr of this thread"

router = Tierwise::V1::RoutingService::Stub.new(address, :this_channel_is_insecure, timeout: 5)
begin
  input = Tierwise::V1::RoutingInput.new(prompt: prompt)
  request = Tierwise::V1::RoutePromptRequest.new(input: input)
  decision = router.route_prompt(request).decision
  puts decision.tier_id, decision.model_id, decision.reason
rescue GRPC::BadStatus => error
  # The reason of tierwise.v1.ErrorReason, or the status code where there is none.
  info = error.to_rpc_status&.details&.find { |detail| detail.is(Google::Rpc::ErrorInfo) }
  reason = info ? info.unpack(Google::Rpc::ErrorInfo).reason : error.code
  warn "#{reason}: #{error.details}"
  exit 1
end
