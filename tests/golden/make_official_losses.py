"""Record the losses of the official implementation over a few optimizer steps.

    PYTHONPATH=tests/golden python tests/golden/make_official_losses.py PATH_TO_OFFICIAL_CHECKOUT

The checkout is kweimann/ECG-JEPA at 504b4e5 (needs psutil and PyYAML); the result,
``official_losses.json``, is what `tests/objectives/test_official_parity.py` compares with.
"""

import json
import sys
from pathlib import Path

from official_setup import STEPS, batch_of, fill_weights, parity_config


def official_losses(checkout: str) -> list[float]:
    """Train the official JEPA on the shared weights, batches and masks."""
    sys.path.insert(0, checkout)
    import configs
    from models import JEPA
    from utils import schedules

    ours = parity_config()
    content = configs.load_config_file(f"{checkout}/configs/pretrain/ViTXS_ptbxl.yaml")
    content.update(
        channel_size=ours.data.window_samples,
        dim=ours.encoder.dim,
        depth=ours.encoder.depth,
        pred_dim=ours.predictor.dim,
        pred_depth=ours.predictor.depth,
        steps=ours.train.steps,
        learning_rate_warmup_steps=ours.train.warmup_steps,
    )
    config = configs.pretrain.Config(**content)
    momentum = schedules.linear_schedule(
        config.steps, config.encoder_momentum, config.final_encoder_momentum
    )
    model = JEPA(config, momentum)
    fill_weights(
        {
            name.replace("encoder.", "context_encoder.", 1)
            if name.startswith("encoder.")
            else name: parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("target_encoder.")
        }
    )
    model.target_encoder.load_state_dict(model.encoder.state_dict())
    optimizer = model.get_optimizer()
    rate = schedules.cosine_schedule(
        config.steps,
        config.learning_rate,
        config.final_learning_rate,
        config.learning_rate_warmup_steps,
        1e-6,
    )
    decay = schedules.cosine_schedule(config.steps, config.weight_decay, config.final_weight_decay)
    losses = []
    for step in range(STEPS):
        schedules.update_learning_rate_(optimizer, next(rate))
        schedules.update_weight_decay_(optimizer, next(decay))
        loss = model(*batch_of(step, ours))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    out = Path(__file__).with_name("official_losses.json")
    out.write_text(json.dumps(official_losses(sys.argv[1]), indent=1) + "\n")
