// The package's worker in a browser without a private file system, as private windows are.
import './no-storage.js';
import '/guided-diffusion/worker/worker.js';
