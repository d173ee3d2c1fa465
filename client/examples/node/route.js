// Routes a prompt from the contract alone: no generated code, no Tierwise package.
// Usage: npm install && node route.js HOST:PORT "your prompt"
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address = "127.0.0.1:50051", prompt = "tl;dr of this thread"] = process.argv.slice(2);
const root = path.join(__dirname, "..", "..", "..", "proto");
const definition = loader.loadSync("tierwise/v1/routing_service.proto", {
  includeDirs: [root],
  keepCase: true,
  enums: String,
  longs: String,
});
const { RoutingService } = grpc.loadPackageDefinition(definition).tierwise.v1;
const client = new RoutingService(address, grpc.credentials.createInsecure());

client.RoutePrompt({ input: { prompt } }, { deadline: Date.now() + 5000 }, (error, response) => {
  client.close();
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
    return;
  }
  const { tier_id, task_id, kind, reason } = response.decision;
  console.log(JSON.stringify({ tier_id, task_id, kind, reason }, null, 2));
});
