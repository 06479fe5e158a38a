import type { PlantedBug } from "./bugs.ts";

export const engineBugs: PlantedBug[] = [];
