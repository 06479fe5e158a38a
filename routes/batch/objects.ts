/** OpenAI's objects: a file, and a batch. */
import type { LineFault } from "./input.ts";
import type { BatchUrl } from "./request-line.ts";

export interface FileObject {
  id: string;
  object: "file";
  bytes: number;
  /** Unix seconds, as all times here. */
  created_at: number;
  filename: string;
  purpose: "batch" | "batch_output";
  status: "processed";
}

type BatchStatus =
  | "validating"
  | "failed"
  | "in_progress"
  | "finalizing"
  | "completed"
  | "expired"
  | "cancelling"
  | "cancelled";

export interface BatchFault extends Omit<LineFault, "line"> {
  line: number | null;
}

export interface BatchObject {
  id: string;
  object: "batch";
  endpoint: BatchUrl;
  model: string | null;
  errors: { object: "list"; data: BatchFault[] } | null;
  input_file_id: string;
  completion_window: string;
  status: BatchStatus;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number;
  in_progress_at: number | null;
  expires_at: number;
  finalizing_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
  metadata: Record<string, string> | null;
}

/** Whether nothing more happens to a batch. */
export function hasEnded({ status }: BatchObject): boolean {
  return ["failed", "completed", "expired", "cancelled"].includes(status);
}

export const unixSeconds = () => Math.floor(Date.now() / 1000);
