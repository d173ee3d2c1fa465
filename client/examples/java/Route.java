// Routes a prompt.
// Usage: ./build.sh OUT && OUT/route HOST:PORT "your prompt"
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.NettyChannelBuilder;
import java.util.concurrent.TimeUnit;
import tierwise.v1.DecisionOuterClass.Decision;
import tierwise.v1.RoutingInputOuterClass.RoutingInput;
import tierwise.v1.RoutingServiceGrpc;
import tierwise.v1.RoutingServiceOuterClass.RoutePromptRequest;

public final class Route {
  public static void main(String[] words) {
    String address = words.length > 0 ? words[0] : "127.0.0.1:50051";
    String prompt = words.length > 1 ? words[1] : "tl;dr of this thread";
    ManagedChannel channel = NettyChannelBuilder.forTarget(address).usePlaintext().build();
    try {
      RoutePromptRequest request =
          RoutePromptRequest.newBuilder()
              .setInput(RoutingInput.newBuilder().setPrompt(prompt))
              .build();
      Decision decision =
          RoutingServiceGrpc.newBlockingStub(channel)
              .withDeadlineAfter(5, TimeUnit.SECONDS)
              .routePrompt(request)
              .getDecision();
      System.out.println(decision.getTierId());
      System.out.println(decision.getModelId());
      System.out.println(decision.getReason());
    } catch (StatusRuntimeException error) {
      // Why in detail: StatusProto.fromThrowable(error) has the google.rpc.ErrorInfo.
      Status status = error.getStatus();
      System.err.println(status.getCode() + ": " + status.getDescription());
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
