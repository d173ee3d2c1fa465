// Connects to a router from the contract alone: no generated code, no Tierwise package.
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync("tierwise/v1/routing_service.proto", {
  includeDirs: [path.join(__dirname, "..", "..", "..", "proto")],
  keepCase: true,
  defaults: true,
  enums: String,
  longs: String,
});
const { RoutingService } = grpc.loadPackageDefinition(definition).tierwise.v1;

// Returns a function that calls one method of the router, and one that closes the connection.
function connect(address) {
  const client = new RoutingService(address, grpc.credentials.createInsecure());
  const call = (method, request) =>
    new Promise((resolve, reject) => {
      client[method](request, { deadline: Date.now() + 5000 }, (error, response) =>
        error ? reject(new Error(`${grpc.status[error.code]}: ${error.details}`)) : resolve(response),
      );
    });
  return { call, close: () => client.close() };
}

module.exports = { connect };
