"""A learned rule in plain NumPy, from the tensors of its file: what one needs to know to port it.

    python numpy_rule.py rule.safetensors inputs.npz targets.npz

`inputs.npz` holds the arrays that lpg/files/export.py lists, float32; nothing of ours is imported.
"""

import json
import sys

import numpy as np
from safetensors import safe_open


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(tensors, name, x):
    return x @ tensors[f"{name}.kernel"] + tensors[f"{name}.bias"]


def lstm(tensors, x, not_done):
    """[T, R, 6] -> [T, R, h], from the last step to the first; gates in the order i, f, g, o."""
    num_steps, rows, _ = x.shape
    size = tensors["lstm.wh"].shape[0]
    h, c = np.zeros((rows, size)), np.zeros((rows, size))
    hidden = np.zeros((num_steps, rows, size))
    for t in reversed(range(num_steps)):
        h, c = h * not_done[t][:, None], c * not_done[t][:, None]
        z = x[t] @ tensors["lstm.wx"] + h @ tensors["lstm.wh"] + tensors["lstm.b"]
        i, f, g, o = np.split(z, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        hidden[t] = h = sigmoid(o) * np.tanh(c)
    return hidden


def lambda_returns(reward, discount, value, lam):
    returns, following = np.zeros_like(reward), value[-1]
    for t in reversed(range(len(reward))):
        following = reward[t] + discount[t] * ((1 - lam) * value[t + 1] + lam * following)
        returns[t] = following
    return returns


def targets(architecture, tensors, inputs):
    """(pi_hat, y_hat) of LPG, (pi_hat, value_target) of LPG-V."""
    reward, not_done, gamma = inputs["reward"], inputs["not_done"], inputs["gamma"]
    if architecture["rule"] == "lpg":
        y = softmax(inputs["prediction"])
        outlook = dense(tensors, "phi.out", np.maximum(dense(tensors, "phi.hidden", y), 0))
    else:
        outlook = inputs["value"]
    outlook = outlook[..., 0]
    discounts = np.broadcast_to(gamma, reward.shape)
    after = outlook[1:] * not_done
    features = [reward, not_done, discounts, inputs["action_prob"], outlook[:-1], after]
    hidden = lstm(tensors, np.stack(features, axis=-1), not_done)
    if architecture["head_activation"] == "relu":
        hidden = np.maximum(hidden, 0)
    pi_hat = dense(tensors, "pi_hat", hidden)[..., 0]
    if architecture["rule"] == "lpg":
        return pi_hat, softmax(dense(tensors, "y_hat", hidden))
    return pi_hat, lambda_returns(reward, discounts * not_done, outlook, architecture["lam"])


def read(path):
    """A rule file's architecture and tensors, by safetensors alone; float64."""
    with safe_open(path, "numpy") as file:
        architecture = json.loads(file.metadata()["architecture"])
        return architecture, {k: file.get_tensor(k).astype(float) for k in file.keys()}  # noqa: SIM118


if __name__ == "__main__":
    with np.load(sys.argv[2]) as data:
        arrays = {name: data[name].astype(float) for name in data.files}
    np.savez(sys.argv[3], *targets(*read(sys.argv[1]), arrays))
