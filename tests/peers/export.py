"""Write the network that peers are timed on: as ONNX for them, as a model file for us, with the same random weights.

    python export.py FOLDER

FOLDER gets small.onnx and small.safetensors: the architecture of `guided-diffusion bench --arch small`, 0.999 GFLOP a
forward at batch 1, counting direct convolutions.  Every parameter is drawn: as they are made, the last layers of
residual blocks are zeros, which an optimizer might drop.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "models/train"))
import checkpoint  # noqa: E402
from network import Config, UNet  # noqa: E402

SMALL = Config(image_size=32, in_channels=1, model_channels=32, out_channels=2, num_res_blocks=1, channel_mult=(1, 2, 4),
               attention_resolutions=(16, 8), num_classes=10, num_head_channels=32)


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    net = UNet(SMALL).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.05)
    inputs = (torch.randn(1, 1, 32, 32), torch.tensor([500]), torch.tensor([3]))
    torch.onnx.export(net, inputs, folder / "small.onnx", input_names=["x", "timesteps", "y"], output_names=["out"], dynamo=True,
                      external_data=False)
    checkpoint.save(folder / "small.safetensors", net.state_dict(), "diffusion", SMALL, train_images=0)


if __name__ == "__main__":
    main()
