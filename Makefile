# Every target works alone on a fresh machine: it installs what it lacks first (scripts/setup.sh).

# Where rustup puts cargo, which a root shell's path may lack.
export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
# Mesa's device selection layer looks for a display server, and complains where there is none.
export NODEVICE_SELECT := 1

# Where `make web` serves the page.
PORT := 8000

.PHONY: help demo web web-build lighthouse test test-native test-web test-cluster drill bench bench-peers gpu-report gpu-check fuzz \
	differential

help:
	@echo 'make demo         build, and write samples.png with the built-in model'
	@echo 'make web          build the page, and serve it on http://127.0.0.1:$(PORT)/'
	@echo 'make web-build    build the page and the package into web/dist, for any static host (PAGE_URL: where it will be)'
	@echo 'make lighthouse   measure the page with Lighthouse, as a phone and as a desktop'
	@echo 'make test         all tests that this machine can run'
	@echo 'make test-native  the tests on both software GPU drivers'
	@echo 'make test-web     the tests in Chromium and Firefox'
	@echo 'make test-cluster split a run over a Slurm of this machine alone, as root'
	@echo 'make drill        lost devices, full disks, kills and other faults on purpose, as root'
	@echo 'make bench        time fashion32, the small reference model, on this machine'
	@echo 'make bench-peers  time a small network and single operations beside onnxruntime-web and burn'
	@echo 'make gpu-report   compile the kernels of GPUs by Mesa'"'"'s compilers, into docs/gpu-report.md'
	@echo 'make gpu-check    the same, for two files: no spills, no idle GPU, no slower than docs/gpu-report.md'
	@echo 'make fuzz         fuzz what reads files, a minute per target'
	@echo 'make differential compare our readers of checkpoints with PyTorch on damaged files'

demo:
	scripts/setup.sh rust gpu
	cargo run --release --locked -- sample --out samples.png

web: web-build
	node web/serve.mjs web/dist $(PORT)

web-build:
	scripts/web-build.sh

lighthouse: web-build
	scripts/setup.sh chromium
	node web/tests/lighthouse.mjs

test: test-native test-web

test-native:
	scripts/test-native.sh

test-web:
	scripts/test-web.sh

test-cluster:
	scripts/test-cluster.sh

drill:
	scripts/drill.sh

bench:
	scripts/setup.sh rust gpu
	cargo run --release --locked -- bench --model models/fashion32.safetensors

bench-peers:
	scripts/bench-peers.sh

gpu-report:
	tests/vendor/report.sh

gpu-check:
	VENDOR_TARGETS='navi21 tgl' VENDOR_PLANS='64x64_diffusion:1:f32 64x64_diffusion:8:f32 64x64_diffusion:8:f16 128x128_diffusion:1:f32:128x128_classifier' \
		tests/vendor/report.sh --check

fuzz:
	scripts/fuzz.sh

differential:
	scripts/differential.sh
