/**
 * The manifests of deploy/: what Kubernetes' schemas allow, what fgserve's flags allow, and what fits together. kubectl renders them,
 * kubernetes-validate (PyPI) has the schemas.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import Ajv from "ajv";
import { command } from "../cli/serve.ts";
import { kvEventsOf } from "../src/kv-events/config.ts";
import { LIVENESS_SECONDS } from "../src/limits.ts";
import { missing, type RunningServer, startServer } from "./server.ts";

const root = path.dirname(import.meta.dir);
const deploy = path.join(root, "deploy");
const python = path.join(root, ".cache/clients/kubernetes/bin/python");
const hasKubectl = Bun.which("kubectl") !== null;
const OVERLAYS = ["server", "gpu", "cluster"];
/** The oldest version with preStop.sleep, and the newest that the schemas know. */
const VERSIONS = ["1.30", "1.37"];

// biome-ignore lint/suspicious/noExplicitAny: manifests have many shapes, and tests say which they mean.
type Manifest = any;

function render(overlay: string): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync([
    "kubectl",
    "kustomize",
    path.join(deploy, "kubernetes", overlay),
  ]);
  if (exitCode !== 0) throw new Error(stderr.toString());
  return stdout.toString();
}

const documents = (text: string): Manifest[] => text.split(/^---$/m).map((one) => Bun.YAML.parse(one));
const read = (file: string): Manifest => Bun.YAML.parse(readFileSync(path.join(deploy, "kubernetes", file), "utf8"));
const labelsMatch = (selector: Record<string, string>, labels: Record<string, string>) =>
  Object.entries(selector).every(([name, value]) => labels[name] === value);

const name = { type: "string", pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" };
const port = { type: "integer", minimum: 1, maximum: 65_535 };
const object = (properties: object, required: string[]) => ({
  type: "object",
  properties,
  required,
  additionalProperties: false,
});
const resource = (apiVersion: string, kind: string, spec: object) =>
  object(
    {
      apiVersion: { const: apiVersion },
      kind: { const: kind },
      metadata: object({ name, namespace: name }, ["name"]),
      spec,
    },
    ["apiVersion", "kind", "metadata", "spec"],
  );
const portOf = object({ number: port }, ["number"]);

/** Kinds that Kubernetes itself does not have, as their definitions describe what is used here. */
const CUSTOM: Record<string, object> = {
  InferencePool: resource(
    "inference.networking.k8s.io/v1",
    "InferencePool",
    object(
      {
        selector: object({ matchLabels: { type: "object", minProperties: 1 } }, ["matchLabels"]),
        targetPorts: { type: "array", minItems: 1, maxItems: 8, items: portOf },
        endpointPickerRef: object({ name, port: portOf, failureMode: { enum: ["FailOpen", "FailClose"] } }, [
          "name",
          "port",
        ]),
      },
      ["selector", "targetPorts"],
    ),
  ),
  HTTPRoute: resource(
    "gateway.networking.k8s.io/v1",
    "HTTPRoute",
    object(
      {
        parentRefs: { type: "array", minItems: 1, items: object({ name }, ["name"]) },
        rules: {
          type: "array",
          items: object(
            {
              matches: {
                type: "array",
                items: object(
                  { path: object({ type: { enum: ["Exact", "PathPrefix"] }, value: { type: "string" } }, ["value"]) },
                  [],
                ),
              },
              backendRefs: {
                type: "array",
                items: object(
                  { group: { const: "inference.networking.k8s.io" }, kind: { const: "InferencePool" }, name },
                  ["group", "kind", "name"],
                ),
              },
              timeouts: object({ request: { type: "string", pattern: "^\\d+(h|m|s|ms)$" } }, []),
            },
            ["backendRefs"],
          ),
        },
      },
      ["parentRefs", "rules"],
    ),
  ),
};

describe.skipIf(!hasKubectl)(`manifests (${hasKubectl ? "kubectl" : "needs kubectl"})`, () => {
  const rendered = new Map<string, string>();
  const of = (overlay: string, kind: string, wanted = "fastgen"): Manifest =>
    documents(rendered.get(overlay)!).find((one) => one.kind === kind && one.metadata.name === wanted);
  beforeAll(() => {
    for (const overlay of OVERLAYS) rendered.set(overlay, render(overlay));
  });

  const hasSchemas = existsSync(python);
  test.skipIf(!hasSchemas)(
    `they are what Kubernetes' schemas allow${hasSchemas ? "" : " (needs scripts/fetch-clients.sh)"}`,
    () => {
      const folder = mkdtempSync(path.join(tmpdir(), "manifests-"));
      try {
        for (const [overlay, text] of rendered) {
          const known = documents(text).filter(({ kind }) => !(kind in CUSTOM));
          const file = path.join(folder, `${overlay}.yaml`);
          writeFileSync(file, known.map((one) => JSON.stringify(one)).join("\n---\n"));
          for (const version of VERSIONS) {
            const validate = [path.join(path.dirname(python), "kubernetes-validate"), "--strict", "-k", version, file];
            const { stdout, stderr, exitCode } = Bun.spawnSync(validate);
            const output = stdout.toString() + stderr.toString();
            expect({ overlay, version, exitCode, output }).toMatchObject({ exitCode: 0 });
            // A kind without a schema is only a warning.
            expect(output).not.toContain("WARN");
          }
        }
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    120_000,
  );

  test("kinds of the Gateway API are what their definitions allow", () => {
    const ajv = new Ajv({ allErrors: true });
    const custom = documents(rendered.get("cluster")!).filter(({ kind }) => kind in CUSTOM);
    expect(custom.map(({ kind }) => kind).sort()).toEqual(Object.keys(CUSTOM).sort());
    for (const one of custom) {
      const validate = ajv.compile(CUSTOM[one.kind]!);
      expect({ kind: one.kind, valid: validate(one), errors: validate.errors }).toMatchObject({ valid: true });
    }
  });

  test.each(OVERLAYS)("%s: fgserve takes its arguments", (overlay) => {
    const [container] = of(overlay, "Deployment").spec.template.spec.containers;
    const entry = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(readFileSync(path.join(deploy, "Containerfile"), "utf8"))![1]!);
    const names = new Set(container.env.map((one: Manifest) => one.name));
    const args = [...entry.slice(1), ...container.args].map((arg: string) =>
      arg.replace(/\$\((\w+)\)/g, (_, variable) => {
        expect(names).toContain(variable);
        return "10.0.0.1";
      }),
    );
    const parser = command().exitOverride();
    parser.parse(args, { from: "user" });
    const flags = parser.opts();
    expect(flags).toMatchObject({
      host: "0.0.0.0",
      port: container.ports[0].containerPort,
      servedModelName: "fastgen",
    });
    if (overlay === "cluster") {
      const events = kvEventsOf(flags.kvEventsConfig)!;
      const port = (one: string) => container.ports.find((listed: Manifest) => listed.name === one).containerPort;
      expect(events).toMatchObject({
        endpoint: `tcp://*:${port("kv-events")}`,
        replay_endpoint: `tcp://*:${port("kv-replay")}`,
        topic: `kv@10.0.0.1:${port("http")}@fastgen`,
      });
    }
  });

  test.each(OVERLAYS)(
    "%s: a pod that goes lets its requests finish, and probes outlast the server's own patience",
    (overlay) => {
      const { spec } = of(overlay, "Deployment").spec.template;
      const [container] = spec.containers;
      const shutdown = Number(/--shutdown-timeout=(\d+)/.exec(container.args.join(" "))![1]);
      const { seconds } = container.lifecycle.preStop.sleep;
      expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(seconds + shutdown);
      expect(container.livenessProbe.timeoutSeconds).toBeGreaterThan(LIVENESS_SECONDS);
      // Out of the routers' rotation before SIGTERM comes would be too late for readiness: preStop is what they have.
      expect(seconds).toBeGreaterThanOrEqual(5);
    },
  );

  test.each(OVERLAYS)("%s: pods have no rights, and write to their volumes alone", (overlay) => {
    for (const deployment of documents(rendered.get(overlay)!).filter(({ kind }) => kind === "Deployment")) {
      const { spec } = deployment.spec.template;
      expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      for (const { securityContext } of spec.containers) {
        expect(securityContext).toEqual({
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
      }
    }
    expect(of(overlay, "Deployment").spec.template.spec.automountServiceAccountToken).toBe(false);
  });

  test("selectors, ports and names meet", () => {
    const { labels } = of("cluster", "Deployment").spec.template.metadata;
    const [container] = of("cluster", "Deployment").spec.template.spec.containers;
    const pool = of("cluster", "InferencePool").spec;
    const picker = of("cluster", "Deployment", "fastgen-picker").spec.template;
    const pickerService = of("cluster", "Service", "fastgen-picker").spec;
    expect(labelsMatch(of("cluster", "Service").spec.selector, labels)).toBe(true);
    expect(labelsMatch(pool.selector.matchLabels, labels)).toBe(true);
    expect(labelsMatch(of("cluster", "NetworkPolicy").spec.podSelector.matchLabels, labels)).toBe(true);
    expect(labelsMatch(of("cluster", "PodDisruptionBudget").spec.selector.matchLabels, labels)).toBe(true);
    expect(pool.targetPorts).toEqual([{ number: container.ports[0].containerPort }]);
    expect(labelsMatch(pickerService.selector, picker.metadata.labels)).toBe(true);
    expect(pool.endpointPickerRef).toMatchObject({
      name: "fastgen-picker",
      port: { number: pickerService.ports[0].port },
    });
    expect(of("cluster", "HTTPRoute").spec.rules[0].backendRefs[0].name).toBe(
      of("cluster", "InferencePool").metadata.name,
    );
    // The autoscaler alone says how many pods there are.
    expect(of("cluster", "Deployment").spec.replicas).toBeUndefined();
    expect(of("cluster", "HorizontalPodAutoscaler").spec.scaleTargetRef.name).toBe("fastgen");
  });
});

/** What llm-d's endpoint picker reads of engines of type "vllm", and how: the gauges' values, and two labels. */
const PICKER_GAUGES = ["vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"];
const PICKER_INFO = { name: "vllm:cache_config_info", blockSize: "block_size", blocks: "num_gpu_blocks" };

describe.skipIf(missing !== null)(`metrics (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer([], null);
  });
  afterAll(() => server?.stop());

  test("the endpoint picker and the autoscaler find their metrics by name and label", async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const series = (wanted: string) =>
      Array.from(text.matchAll(/^([\w:]+)\{([^}]*)\} (\S+)$/gm)).filter(([, one]) => one === wanted);
    for (const gauge of PICKER_GAUGES) {
      expect(text).toContain(`# TYPE ${gauge} gauge`);
      expect(series(gauge).map(([, , , value]) => Number(value))).toEqual([0]);
    }
    const [[, , labels] = []] = series(PICKER_INFO.name);
    const label = (one: string) => Number(new RegExp(`${one}="(\\d+)"`).exec(labels!)?.[1]);
    expect(label(PICKER_INFO.blocks)).toBeGreaterThan(0);
    const config = read("gateway/picker-config.yaml");
    const producer = config.plugins.find((one: Manifest) => one.type === "precise-prefix-cache-producer").parameters;
    expect(producer.tokenProcessorConfig.blockSize).toBe(label(PICKER_INFO.blockSize));
    const [rule] = read("autoscaling/prometheus-adapter.yaml").rules.custom;
    const scaled = /^([\w:]+)\{/.exec(rule.seriesQuery)![1]!;
    expect(series(scaled)).toHaveLength(1);
    expect(read("autoscaling/autoscaler.yaml").spec.metrics[0].pods.metric.name).toBe(rule.name.as);
    // A bare number among the labels would end the picker's reading.
    expect(series("vllm:lora_requests_info")).toEqual([]);
  });

  test("the endpoint picker gets a prompt's token ids as it asks for them", async () => {
    const post = async (route: string, body: object) => {
      const reply = await fetch(`${server.url}${route}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return (await reply.json()) as Manifest;
    };
    const chat = { model: "fastgen", messages: [{ role: "user", content: "hello" }], stream: true, max_tokens: 9 };
    const { token_ids, features } = await post("/v1/chat/completions/render", chat);
    expect(token_ids.every(Number.isInteger)).toBe(true);
    expect([token_ids.length > 0, features]).toEqual([true, null]);
    const rendered = await post("/v1/completions/render", { model: "fastgen", prompt: ["a", "b"] });
    expect(rendered.map((one: Manifest) => one.token_ids.length > 0)).toEqual([true, true]);
  });
});
