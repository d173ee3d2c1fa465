// Routes a prompt.
// Usage: npm install && node route.js HOST:PORT "your prompt"
const { connect } = require("./router");

const [address = "127.0.0.1:50051", prompt = "tl;dr of this thread"] = process.argv.slice(2);

async function main() {
  const router = connect(address);
  try {
    const { decision } = await router.call("RoutePrompt", { input: { prompt } });
    const { tier_id, task_id, kind, reason } = decision;
    console.log(JSON.stringify({ tier_id, task_id, kind, reason }, null, 2));
  } finally {
    router.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
