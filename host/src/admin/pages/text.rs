//! Every text of the pages, once in English and once in Simplified Chinese. One that lacks a language does not compile.

/// Makes the catalogue: the struct with a field for each text, and one value of it for each language.
macro_rules! catalogue {
    ($($name:ident: $english:literal, $chinese:literal;)+) => {
        /// The texts of one language.
        #[derive(Debug)]
        pub(super) struct Text {
            $(pub(super) $name: &'static str,)+
        }

        pub(super) static ENGLISH: Text = Text { $($name: $english,)+ };
        pub(super) static CHINESE: Text = Text { $($name: $chinese,)+ };

        /// Every text with its name and both its forms, for tests.
        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $chinese),)+];
    };
}

catalogue! {
    about_it: "About it", "基本信息";
    account: "Account", "账户";
    account_name: "Account", "账户名";
    accounts: "Accounts", "账户";
    accounts_caption: "Who may sign in, and what they may do", "谁可以登录，以及可以做什么";
    acknowledge: "Acknowledge", "确认";
    active: "Active", "当前告警";
    ago_days: "{} d ago", "{} 天前";
    ago_hours: "{} h ago", "{} 小时前";
    ago_minutes: "{} min ago", "{} 分钟前";
    ago_seconds: "{} s ago", "{} 秒前";
    alert: "Alert", "告警";
    alerts: "Alerts", "告警";
    any: "Any", "不限";
    attempt: "Attempt", "尝试";
    attempts: "Attempts", "尝试次数";
    audit: "Audit log", "审计日志";
    backtrace: "Backtrace", "调用栈";
    bot: "Bot", "机器人";
    bots: "Bots", "机器人";
    bots_by_phase: "Bots by phase", "各阶段的机器人";
    change_password: "Change password", "修改密码";
    channel: "Channel", "渠道";
    channels: "Channels", "通知渠道";
    channels_caption: "Where people are told", "通知发往何处";
    choose: "Choose", "选择";
    choose_all: "Choose all on this page", "选择本页全部";
    close: "Close", "关闭";
    compare: "Compare", "比较";
    component: "Component", "组件";
    configuration: "Configuration", "配置";
    confirm_disable: "Disable this bot? It stops, and stays down until it is enabled.", "要停用这个机器人吗？它会停止，直到再次启用。";
    confirm_drop: "Drop it for good? It cannot be brought back.", "要永久丢弃吗？丢弃后无法恢复。";
    confirm_remove: "Remove it? Whoever uses it is shut out at once.", "要移除吗？使用者会立即失去访问权限。";
    confirm_reset: "Clear this bot's breaker and quarantine, and start it anew?", "要清除熔断与隔离状态并重新启动吗？";
    confirm_rollback: "Go back to this generation? What runs changes at once.", "要回滚到这一代吗？运行中的内容会立即改变。";
    confirm_stop: "Stop this bot? Its events wait until it is started.", "要停止这个机器人吗？其事件会等待到再次启动。";
    confirm_stop_connector: "Stop this connector? Nothing comes in and nothing goes out until it is started.", "要停止这个连接器吗？启动之前不会收发消息。";
    connections: "Connections", "连接次数";
    connector: "Connector", "连接器";
    connectors: "Connectors", "连接器";
    connectors_caption: "Links to the platforms", "与各平台的连接";
    conversation: "Conversation", "会话";
    copied: "Copied", "已复制";
    copy: "Copy", "复制";
    create: "Create", "创建";
    dead_letters: "Dead letters", "死信";
    dead_letters_hint: "Messages that a bot could not handle however often it tried. They are kept until somebody tries them again or drops them.", "机器人多次尝试仍无法处理的消息。它们会保留，直到有人重试或丢弃。";
    deeds: "Actions", "操作";
    delivered: "Delivered", "已送达";
    details: "Details", "详情";
    disable: "Disable", "停用";
    drop: "Drop", "丢弃";
    drop_chosen: "Drop the chosen", "丢弃所选";
    done: "Done.", "已完成。";
    duplicates: "Duplicates", "重复次数";
    earlier_page: "Previous", "上一页";
    empty_file: "The file is empty: every setting has its default.", "文件为空：所有设置均为默认值。";
    enable: "Enable", "启用";
    event: "Event", "事件";
    events: "Events", "事件";
    events_of_last_hour: "Events, last hour", "最近一小时事件";
    events_per_second: "Events", "事件";
    every_phase: "Every phase", "所有阶段";
    failed: "Failed", "失败";
    faults: "Faults", "故障";
    figures: "Figures", "指标";
    file: "File", "文件";
    firing: "Firing", "触发中";
    follow: "Follow", "实时查看";
    from_generation: "From", "从";
    fuel: "Fuel", "燃料";
    generation: "Generation", "第几代";
    generations: "Generations", "历次配置";
    go_back_to_it: "Roll back", "回滚";
    handled: "Handled", "已处理";
    heard_by_nobody: "No bot hears this connector.", "没有机器人监听此连接器。";
    history: "History", "历史";
    holds_when: "Holds when", "条件";
    in_all: "in all", "次";
    in_force: "In force", "生效中";
    in_minutes: "in {} min", "{} 分钟后";
    in_seconds: "in {} s", "{} 秒后";
    is_set_leave_empty: "is set; leave empty to keep it", "已设置；留空则不变";
    key: "Key", "键";
    kind: "Kind", "类型";
    language_is: "English", "中文";
    last_error: "Last error", "最近错误";
    last_event: "Last event", "最近事件";
    last_used: "Last used", "最近使用";
    latency: "Latency, 95 of 100", "延迟（95 分位）";
    later_page: "Next", "下一页";
    letters_decided: "{} decided.", "已处理 {} 条。";
    letters_refused: "{} refused:", "{} 条被拒绝：";
    level_essential: "Essential only", "仅维持基本";
    level_full: "All works", "全部正常";
    level_none: "Not serving", "未提供服务";
    level_reduced: "Most works", "大部分正常";
    link: "Link", "连接";
    link_auth_failed: "refused", "凭据被拒";
    link_authenticating: "authenticating", "正在认证";
    link_degraded: "of no use at the moment", "暂不可用";
    link_backing_off: "waiting to retry", "等待重连";
    link_connected: "connected", "已连接";
    link_connecting: "connecting", "连接中";
    link_contested: "contested", "被其他进程占用";
    link_stopped: "stopped", "已停止";
    logs: "Logs", "日志";
    look_at_alert: "See the alert", "查看告警";
    look_at_bot: "Open the bot", "打开机器人";
    look_at_configuration: "Open the configuration", "查看配置";
    look_at_connectors: "Open connectors", "查看连接器";
    look_at_letters: "Open dead letters", "处理死信";
    look_at_outbox: "Open the outbox", "查看发件箱";
    looked_after_by: "looked after by", "处理人";
    lost: "Lost", "已丢失";
    lost_since: "With what was lost since", "并包括此后丢失的";
    memory: "Memory", "内存";
    menu: "Menu", "菜单";
    message: "Message", "消息";
    messages: "Messages", "消息";
    more_of_them: "more", "项未显示";
    needed: "needed", "必填";
    new_account: "New account", "新建账户";
    new_password: "New password", "新密码";
    new_token: "New token", "新建令牌";
    newest_first: "Newest first", "最新在前";
    next_first: "Next first", "按发送顺序";
    no: "No", "否";
    no_alerts: "No alert is up.", "没有告警。";
    no_bots_yet: "There are no bots yet. Put a component into the bots' directory, or upload one below.", "还没有机器人。请将组件放入机器人目录，或在下方上传。";
    no_connectors_yet: "There are no connectors. Add one under [connectors.NAME] in the configuration.", "还没有连接器。请在配置的 [connectors.NAME] 中添加。";
    no_dead_letters: "There are no dead letters.", "没有死信。";
    no_difference: "Nothing differs.", "没有差异。";
    no_lines_yet: "No lines yet.", "暂无日志。";
    no_offers: "Nothing is on offer.", "暂无可选项目。";
    no_settings: "This bot has no settings.", "这个机器人没有设置项。";
    no_tenants: "There are no tenants.", "没有租户。";
    nothing_chosen: "Nothing is chosen.", "未选择任何项目。";
    nothing_found: "Nothing is found.", "没有找到。";
    nothing_is_wrong: "Nothing is wrong.", "一切正常。";
    nothing_lost: "Nothing is lost.", "没有丢失的消息。";
    nothing_waits: "Nothing waits.", "没有等待发送的消息。";
    nothing_yet: "Nothing yet.", "暂无记录。";
    now: "Now", "当前值";
    of_them: "of", "／";
    offers: "Pick a bot", "可选机器人";
    offers_hint: "What you can have. A picked bot starts by itself once its token is set.", "您可以选用的机器人。设置令牌后会自动启动。";
    old_password: "Old password", "旧密码";
    outbox: "Outbox", "发件箱";
    outcome: "Outcome", "结果";
    overview: "Overview", "总览";
    password: "Password", "密码";
    password_hint: "12 characters at least. All your sessions end when it is changed.", "至少 12 个字符。修改后您的所有会话都会结束。";
    password_or_token: "Password or token", "密码或令牌";
    phase: "Phase", "阶段";
    phase_backoff: "waiting to retry", "等待重试";
    phase_degraded: "degraded", "已降级";
    phase_disabled: "disabled", "已停用";
    phase_discovered: "discovered", "已发现";
    phase_draining: "draining", "收尾中";
    phase_probation: "on probation", "试用中";
    phase_quarantined: "quarantined", "已隔离";
    phase_rejected: "rejected", "已拒绝";
    phase_running: "running", "运行中";
    phase_starting: "starting", "启动中";
    phase_stopped: "stopped", "已停止";
    pick_it: "Pick it", "选用";
    queue: "Queue", "队列";
    reason: "Reason", "原因";
    received: "Received", "收到";
    refused: "That did not work", "操作未成功";
    remove: "Remove", "移除";
    replay: "Send what waits now", "立即发送等待的消息";
    replay_hint: "Everything that waits for the connector is due at once, in order, at a growing pace.", "该连接器等待的全部消息会立即按序发送，速度逐渐加快。";
    reset: "Reset", "重置";
    resolve: "Resolve", "解除";
    restart: "Restart", "重启";
    restarts: "Restarts", "重启次数";
    revoke: "Revoke", "吊销";
    role: "Role", "角色";
    role_admin: "admin", "管理员";
    role_operator: "operator", "操作员";
    role_viewer: "viewer", "查看者";
    rule: "Rule", "规则";
    rules: "Rules", "告警规则";
    rules_caption: "When an alert comes up", "何时产生告警";
    save: "Save", "保存";
    search: "Search", "搜索";
    search_by_name: "Name", "名称";
    secrets_are_not_shown: "Secrets are not shown.", "机密内容不会显示。";
    send_test: "Send a test", "发送测试";
    sent: "Sent", "已发送";
    settings: "Settings", "设置";
    severity: "Severity", "级别";
    severity_critical: "critical", "严重";
    severity_info: "info", "提示";
    severity_warning: "warning", "警告";
    show: "Show", "显示";
    sign_in: "Sign in", "登录";
    sign_in_hint: "With a token, leave the account empty. The operator of this host gives out accounts.", "使用令牌时请将账户名留空。账户由本主机的管理者发放。";
    sign_out: "Sign out", "退出";
    since: "Since", "自";
    size: "Size", "大小";
    skip_to_content: "Skip to the content", "跳到正文";
    sort_busy: "Most events", "事件最多";
    sort_faults: "Most faults", "故障最多";
    sort_memory: "Most memory", "内存最多";
    sort_name: "Name", "名称";
    sort_queue: "Longest queue", "队列最长";
    sort_trouble: "Trouble first", "异常优先";
    sorted_by: "Order", "排序";
    standing: "Standing", "状态";
    start: "Start", "启动";
    state: "State", "存储状态";
    state_caption: "What the bot keeps: keys and sizes", "机器人保存的键及大小";
    state_dead: "dead letter", "死信";
    state_delivered: "delivered", "已送达";
    state_done: "done", "已完成";
    state_dropped: "dropped", "已丢弃";
    state_lost: "lost", "已丢失";
    state_perhaps_sent: "perhaps sent", "可能已发送";
    state_unwanted: "not wanted by the bot", "机器人不接收";
    state_waiting: "waiting", "等待中";
    stop: "Stop", "停止";
    stop_following: "Stop following", "停止查看";
    store_is_in_trouble: "Store", "存储";
    switch_on: "Switch on", "开通";
    switch_theme: "Light or dark", "切换明暗";
    switched_off: "off", "已关闭";
    switched_on: "on", "已开启";
    tenant: "Tenant", "租户";
    tenant_or_host: "Tenant (empty: the whole host)", "租户（留空：整个主机）";
    tenants: "Tenants", "租户";
    tenants_caption: "Tenants and what they have", "租户及其拥有的内容";
    text: "Text", "内容";
    times: "Times", "次数";
    to_generation: "To", "到";
    token: "Token", "令牌";
    token_shown_once: "This is shown once and kept nowhere. Copy it now.", "令牌只显示这一次，不会保存。请立即复制。";
    tokens: "Tokens", "令牌";
    tokens_caption: "What programs are let in with", "供程序访问使用";
    tried_again: "Tried again", "再次尝试";
    try_again: "Try again", "重试";
    try_chosen_again: "Try the chosen again", "重试所选";
    turn_acknowledged: "acknowledged", "已确认";
    turn_changed: "changed", "有变化";
    turn_fired: "fired", "触发";
    turn_resolved: "resolved", "已解除";
    up_for: "up for", "已运行";
    upload: "Upload", "上传";
    upload_component: "Upload a component", "上传组件";
    upload_done: "It was checked and is in place.", "已检查并就位。";
    upload_hint: "It is checked before it is put in place: a component that is not good changes nothing, and the answer says why.", "放置之前会先检查：不合格的组件不会改变任何内容，并会说明原因。";
    upload_without_script: "Without JavaScript, upload by", "未启用 JavaScript 时，请用此方式上传：";
    version: "Version", "版本";
    want_attention: "want attention", "项需要处理";
    what: "What", "内容";
    what_happened_to_it: "What happened to it", "近期情况";
    what_is_wrong: "What is wrong", "异常";
    when: "When", "时间";
    where_from: "From", "来源";
    where_to: "To", "去向";
    who: "Who", "操作者";
    whole_host: "the whole host", "整个主机";
    why: "Why", "原因";
    worst_first: "Worst first", "最严重在前";
    yes: "Yes", "是";
}

/// Puts a value where a text has its gap.
pub(super) fn fill(text: &str, value: impl std::fmt::Display) -> String {
    text.replacen("{}", &value.to_string(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_its_gaps_in_both_languages_and_is_not_empty() {
        for (name, english, chinese) in ALL {
            assert!(!english.trim().is_empty() && !chinese.trim().is_empty(), "{name}");
            assert_eq!(english.matches("{}").count(), chinese.matches("{}").count(), "{name}");
            let is_chinese = !chinese.is_ascii();
            assert!(is_chinese, "{name} is not translated");
        }
    }

    #[test]
    fn a_gap_is_filled() {
        assert_eq!(fill(ENGLISH.ago_days, 3), "3 d ago");
        assert_eq!(fill(CHINESE.ago_days, 3), "3 天前");
    }
}
