// Routes a prompt.
// Usage: ./build.sh OUT && OUT/route HOST:PORT "your prompt"
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"example/tierwise"
)

func main() {
	address, prompt := "127.0.0.1:50051", "tl;dr of this thread"
	if len(os.Args) > 2 {
		address, prompt = os.Args[1], os.Args[2]
	}
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		fail(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	router := tierwise.NewRoutingServiceClient(connection)
	input := &tierwise.RoutingInput{Content: &tierwise.RoutingInput_Prompt{Prompt: prompt}}
	request := &tierwise.RoutePromptRequest{Input: input}
	response, err := router.RoutePrompt(ctx, request)
	if err != nil {
		fail(err)
	}
	decision := response.GetDecision()
	fmt.Println(decision.GetTierId())
	fmt.Println(decision.GetModelId())
	fmt.Println(decision.GetReason())
}

// fail says what the router said, with the reason of tierwise.v1.ErrorReason.
func fail(err error) {
	failure := status.Convert(err)
	reason := failure.Code().String()
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.GetReason()
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", reason, failure.Message())
	os.Exit(1)
}
