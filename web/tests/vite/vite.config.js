export default {
  // Top-level await in the application.
  build: { target: 'es2022' },
  worker: { format: 'es' },
};
