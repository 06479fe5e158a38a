/** Bugs planted in the KV pages of device and host. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => `src/engine/${name}.test.ts`;
const SCHEDULING = [
  beside("scheduler/scheduler"),
  beside("scheduler/scheduler-fairness"),
  beside("sequences/sequence-start"),
];

export const pageBugs: PlantedBug[] = [
  ...inFile(
    "src/engine/pages/page-cache.ts",
    [beside("pages/page-cache"), beside("pages/page-cache-order"), ...SCHEDULING],
    [
      ["if (--this.refs[page]! > 0) return;", "--this.refs[page]!;", "a shared page is free for whoever asks"],
      ["      else this.lock(node);\n", "", "a page on its way back may be thrown out of the host"],
      ["if (node.locks > 0) return;", "", "a page that must stay may leave"],
      [
        "const [copied] = this.onBoth;",
        "const [copied] = new Set<PageNode>();",
        "two copies of a page cost another its place",
      ],
      [
        "if (isUse && !isUsed) this.prove(node);",
        "if (!isUsed) this.prove(node);",
        "a preemption counts as a second use",
      ],
      [
        "if (node?.children === 0 && this.hostEnds.isWorse(node, victim)) return -1;",
        "",
        "a page goes to the host in the place of one that is worth more",
      ],
      [
        "this.refs[known.page]! > 0) return null;",
        "this.refs[known.page]! > 0) return known;",
        "other content with the same hash is served",
      ],
      ["if (node.parent !== parent) return false;", "", "a page is found below another prefix"],
      [
        "for (let i = 0; i < PAGE_TOKENS; i++) if (node.tokens[i] !== tokens[from + i]) return false;",
        "",
        "a hash that collides is believed",
      ],
      ["else this.leaveDevice(node);", "else node.page = -1;", "a page belongs to a node that has left it"],
      ["if (isIdle) this.free.push(page);", "", "a forgotten page is lost"],
      ["copies.copyPage(node.page, node.hostPage, direction);", "", "a page comes back without its content"],
      ["copies.copyPage(node.page, hostPage, FG.TO_HOST);", "", "a page goes to the host without its content"],
      [
        "if (node.hostPage < 0 && (this.savesPages || node.children > 0)) this.save(node, copies);",
        "this.save(node, copies);",
        "a page that is on the host takes a second place there",
      ],
      ["this.hostFree.add(node.hostPage);", "", "host pages are lost"],
      ["return this.free.length + this.idle;", "return this.free.length;", "cached pages do not count as available"],
      ["this.hold(known);\n      this.release(page);", "this.hold(known);", "a page computed twice is lost"],
      [
        "if (node === null) {\n      this.free.push(page);\n      return;\n    }",
        "if (node) this.forget(node);\n    else this.free.push(page);\n    return;",
        "a page that is let go is not kept for others",
      ],
      ["if (this.index.get(node.key) !== node) this.forget(node);", "", "what cannot be found keeps its page"],
    ],
  ),
  ...inFile(
    "src/engine/pages/page-cache.ts",
    ["bench/simulate-turns.test.ts"],
    [
      ["(this.savesPages || node.children > 0)", "true", "pages go to the host though they are not worth the copy"],
      [
        "(this.savesPages ? this.hostFree.spare + this.onBoth.size : 0)",
        "this.hostFree.spare",
        "host pages that are not used count as room",
      ],
    ],
  ),
  ...inFile(
    "src/engine/offload/restore-costs.ts",
    [beside("offload/restore-costs")],
    [
      ["this.restoring ?? this.saving", "this.restoring", "what it costs to save a page says nothing"],
      ["    this.restoring = this.saving = null;\n", "", "a slow moment is for ever"],
      ["    this.steps = 0;\n", "", "copies that cost too much are tried all the time"],
      ["2 * tokens >= this.maxStepTokens", "true", "a token of an empty step counts as one of a full step"],
      ["WORTH * this.computing", "this.computing", "copies that hold up the steps count as worth it"],
    ],
  ),
  ...inFile(
    "src/engine/offload/host-copies.ts",
    [beside("offload/host-copies"), "bench/simulate-turns.test.ts"],
    [
      ["this.arriving.size < MOST_ARRIVING", "true", "all that waits comes back beside one step"],
      ["nodes : nodes.slice(0, onHost)", "nodes : nodes", "pages come back though it is cheaper to compute them"],
      ["if (copies[at] === FG.TO_HOST) step.saved++;", "step.saved++;", "pages that come back count as those that go"],
      ["this.toldLater + (isLater ? 0 : step.restored)", "step.restored", "a copy's time is taken for another's"],
    ],
  ),
  ...inFile(
    "src/engine/pages/empty-host-pages.ts",
    [beside("pages/empty-host-pages"), "bench/simulate-turns.test.ts"],
    [
      [
        "const [page] = this.pages;",
        "const page = [...this.pages].at(-1);",
        "a page goes to the host in the place that is being read",
      ],
      ["this.pages.size - Math.min(", "this.pages.size - 0 * Math.min(", "no host page is kept empty"],
      ["const RESERVE = 64;", "const RESERVE = 4096;", "a large part of the host holds nothing"],
    ],
  ),
  ...inFile(
    "src/engine/pages/page-victims.ts",
    [beside("pages/page-cache-order"), beside("pages/page-policy"), "bench/simulate-turns.test.ts"],
    [
      [
        "reuse.comesTooLate ? this.fresh.last : this.fresh.first",
        "this.fresh.first",
        "the oldest leave though all of a cycle is lost then",
      ],
      [
        "reuse.comesTooLate ? this.fresh.last : this.fresh.first",
        "this.fresh.last",
        "the newest leave though they will come again soon",
      ],
      [
        "this.distance(overdue) > this.distance(late) ? overdue : late",
        "late",
        "what never comes again stays for good",
      ],
      [
        "fresh ?? proven ?? this.awaited.last",
        "fresh ?? proven ?? this.awaited.first",
        "what is needed first leaves first",
      ],
      ["waiters > 0 ? this.awaited : ", "", "what waiting sequences need leaves like other pages"],
      [
        "b.waiters > 0 && (a.waiters === 0 || a.due >= b.due)",
        "true",
        "what waiting sequences need loses its place on the host",
      ],
    ],
  ),
  ...inFile(
    "src/engine/pages/page-reuse.ts",
    [beside("pages/page-cache-order"), beside("pages/page-policy"), "bench/simulate-turns.test.ts"],
    [
      ["if (past === undefined) {", "if (true) {", "a page that was forgotten and comes again counts as new"],
      ["return this.usualGap > this.capacity;", "return false;", "a cycle is not noticed"],
    ],
  ),
  ...inFile(
    "src/engine/offload/host-pages.ts",
    [beside("offload/host-pages"), beside("worker")],
    [
      ["if (count > this.#count) this.#grown = now;", "", "pages that come slowly are warned of"],
      ["    this.#grown = now;\n  }", "    this.#grown = 0;\n  }", "a slow start counts as waiting for pages"],
      ["this.#count = count;\n    if", "if", "pages that have come are not known"],
      ["this.#told = true;", "", "missing pages are told again and again"],
      ["this.#told || this.complete ||", "this.#told ||", "the last page makes a warning"],
    ],
  ),
  ...inFile(
    "src/engine/pages/page-cache.ts",
    [beside("scheduler/scheduling")],
    [['if (salt === "") return this.root;', "return this.root;", "salts share pages"]],
  ),
];
