"""The service as the contract describes it: the only place that knows gRPC and its messages."""
