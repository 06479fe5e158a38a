/** A scheduler with a fake library and a fake disk, driven as the worker drives the real ones: for tests. */
import { DiskListing } from "../offload/disk-listing.ts";
import type { SchedulerConfig } from "../scheduler/scheduler-config.ts";
import { type FakeDisk, FakeStore } from "./fake-store.ts";
import { config, Rig, request } from "./scheduler-rig.ts";

const DISK_CONFIG = { ...config, pages: 24, hostPages: 16 };

/** An engine with a disk. Its store does what it is asked for at once, unless `isSlow`. */
export class DiskRig extends Rig {
  readonly store: FakeStore;
  readonly warnings: string[] = [];
  /** What the main thread knows of it. */
  readonly listing = new DiskListing();
  isSlow = false;

  constructor(
    disk: FakeDisk = new Map(),
    capacity = 1000,
    over: Partial<SchedulerConfig> = {},
    lost?: (d: string) => boolean,
  ) {
    super({ ...DISK_CONFIG, ...over });
    // A load may have to wait for copies, and a sequence for two loads.
    this.patience = 8;
    this.store = new FakeStore(this.library, disk, capacity, lost);
    this.scheduler.useStore(this.store);
    this.update();
  }

  /** As the worker does between steps. */
  update(): void {
    if (!this.isSlow) this.store.tick();
    this.warnings.push(...this.scheduler.disk!.update());
    const change = this.scheduler.disk!.takeChange();
    if (change) this.listing.change(change);
  }

  override step(): boolean {
    this.update();
    const goesOn = super.step();
    if (this.scheduler.stepsInFlight > 0) return goesOn;
    return this.scheduler.disk!.idle(this.plan, (copies) => this.library.copy(copies)) || goesOn;
  }

  get disk() {
    return this.scheduler.stats();
  }

  /** Runs one request to its end, and writes what is to be written. Returns the prompt tokens that were found. */
  run(tokens: ArrayLike<number>, over: Parameters<typeof request>[2] = {}, maxTokens = 3): number {
    const one = request(tokens, maxTokens, over);
    this.add(one);
    this.finish();
    this.update();
    return this.received.get(one.id)!.cachedTokens;
  }
}
