// Has a prompt answered by the model that the router chooses, and reports what became of it.
// Usage: npm install && OPENAI_API_KEY=... node ask.js HOST:PORT "your prompt"
const { randomUUID } = require("node:crypto");
const { connect } = require("./router");

const [address = "127.0.0.1:50051", prompt = "tl;dr of this thread"] = process.argv.slice(2);
const { OPENAI_API_KEY: key, OPENAI_BASE_URL: baseUrl = "https://api.openai.com/v1" } = process.env;

async function main() {
  if (!key) throw new Error("set OPENAI_API_KEY");
  const router = connect(address);
  try {
    // The router must plan nothing that this program has no key for.
    const constraints = { allowed_provider_ids: ["openai"] };
    const { decision } = await router.call("RoutePrompt", { input: { prompt, constraints } });
    if (!decision.plan) throw new Error("the router's catalog has no models");
    const { text, attempts } = await follow(decision.plan.steps);
    const outcome = { outcome_id: randomUUID(), decision_token: decision.decision_token, attempts };
    const { results } = await router.call("ReportOutcomes", { outcomes: [outcome] });
    const last = attempts.at(-1);
    if (text === undefined) throw new Error(`${last.model_id} failed: ${last.error_class}`);
    console.log(text);
    console.error(`${decision.tier_id}, ${last.model_id}, report: ${results[0].status}`);
  } finally {
    router.close();
  }
}

// Calls the plan's models in order, each only after failures that its step names.
async function follow(steps) {
  const attempts = [];
  let failure;
  for (const step of steps) {
    if (failure && !step.error_classes.includes(failure)) continue;
    const { text, attempt } = await callModel(step);
    attempts.push(attempt);
    if (text !== undefined) return { text, attempts };
    failure = attempt.error_class;
  }
  return { attempts };
}

async function callModel({ kind, model, call_timeout: timeout }) {
  const started = Date.now();
  const attempt = { model_id: model.model_id, provider_id: model.provider_id, step_kind: kind };
  try {
    const response = await fetch(`${baseUrl}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
      body: JSON.stringify({
        model: model.upstream_name,
        messages: [{ role: "user", content: prompt }],
      }),
      signal: AbortSignal.timeout(Number(timeout.seconds) * 1000 + timeout.nanos / 1e6),
    });
    if (!response.ok) {
      attempt.error_class = classOfStatus(response.status);
      return { attempt };
    }
    const { choices, model: served, usage } = await response.json();
    attempt.served_model_name = served;
    attempt.usage = {
      input_token_count: usage.prompt_tokens,
      output_token_count: usage.completion_tokens,
    };
    if (choices[0].finish_reason === "content_filter" || choices[0].message.refusal) {
      // A refusal: no step of a plan names it, so no other model is asked.
      attempt.error_class = "ERROR_CLASS_CONTENT_POLICY";
      return { attempt };
    }
    return { text: choices[0].message.content, attempt };
  } catch (error) {
    attempt.error_class = classOfException(error);
    return { attempt };
  } finally {
    attempt.start_time = secondsAndNanos(started);
    attempt.call_duration = secondsAndNanos(Date.now() - started);
  }
}

function classOfStatus(status) {
  if (status === 429) return "ERROR_CLASS_RATE_LIMITED";
  if (status === 401 || status === 403) return "ERROR_CLASS_AUTHENTICATION";
  if (status === 503) return "ERROR_CLASS_OVERLOADED";
  return status >= 500 ? "ERROR_CLASS_SERVER_ERROR" : "ERROR_CLASS_INVALID_REQUEST";
}

function classOfException(error) {
  if (error.name === "TimeoutError") return "ERROR_CLASS_TIMEOUT";
  // What `fetch` throws of a connection has its cause; anything else is an answer without sense.
  return error.cause ? "ERROR_CLASS_CONNECTION" : "ERROR_CLASS_MALFORMED_RESPONSE";
}

function secondsAndNanos(milliseconds) {
  return { seconds: Math.floor(milliseconds / 1000), nanos: (milliseconds % 1000) * 1e6 };
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
