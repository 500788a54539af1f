export type { MatrixStatistics } from "../spectra/matrix-statistics.ts";
export { Lock } from "./lock.ts";
export {
  type DataDescription,
  type Identity,
  type IdentityRequest,
  identityDifferences,
  type LabelIdentity,
  MANIFEST_VERSION,
  type Manifest,
  type ModelDescription,
  parseManifest,
  type RunOptions,
  type Session,
  type SessionStatus,
  type Versions,
} from "./manifest.ts";
export {
  type CosineStatistics,
  contentHash,
  type GradientRecord,
  type LabelSubset,
  type MatrixKey,
  matrixKey,
  type Projection,
  parseMatrixKey,
  SCHEMA_VERSION,
  type SkippedRow,
  type SweepEntry,
  serialise,
} from "./record.ts";
export { type OpenRunOptions, type RunDescription, RunFolder, readManifest, runFiles } from "./records.ts";
export {
  MAX_LINE_BYTES,
  type ReadMatrix,
  type ReadRecord,
  type ReadRecordsOptions,
  type ReadStatistics,
  readRecords,
} from "./records-reader.ts";
